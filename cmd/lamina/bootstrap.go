package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// demoBootstrap is the custom runtime that lamina demo puts into a layer on a
// machine that has neither Python nor Node: this binary under the name
// bootstrap. It answers each event with the greeting that the layer's file and
// the function's file make together. It returns the exit code.
func demoBootstrap() int {
	err := serveGreetings("http://" + os.Getenv("AWS_LAMBDA_RUNTIME_API") + "/2018-06-01/runtime/invocation/")
	fmt.Fprintf(os.Stderr, "bootstrap: %v\n", err)
	return exitError
}

// serveGreetings returns only when it can't go on.
func serveGreetings(api string) error {
	greeting, err := os.ReadFile("/opt/greeting.txt")
	if err != nil {
		return err
	}
	task, err := os.ReadFile("/var/task/task.txt")
	if err != nil {
		return err
	}
	client := &http.Client{Timeout: 24 * time.Hour} // an idle environment waits long
	for {
		if err := greet(client, api, string(greeting), string(task)); err != nil {
			return err
		}
	}
}

// greet takes one event and answers it.
func greet(client *http.Client, api, greeting, task string) error {
	next, err := client.Get(api + "next")
	if err != nil {
		return err
	}
	defer next.Body.Close()
	var event struct{ Name string }
	data, err := io.ReadAll(next.Body)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, &event); err != nil {
		return err
	}
	answer, err := json.Marshal(map[string]string{
		"message": fmt.Sprintf("%s, %s! %s", greeting, event.Name, task),
		"version": os.Getenv("AWS_LAMBDA_FUNCTION_VERSION"),
	})
	if err != nil {
		return err
	}
	done, err := client.Post(api+next.Header.Get("Lambda-Runtime-Aws-Request-Id")+"/response", "application/json", bytes.NewReader(answer))
	if err != nil {
		return err
	}
	return done.Body.Close()
}
