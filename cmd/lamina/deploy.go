package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

type deployVerb struct {
	Template  string            `arg:"" type:"path" help:"Template of CloudFormation or SAM, in YAML or JSON."`
	Stack     string            `env:"LAMINA_STACK" placeholder:"NAME" help:"Name of the stack; that of the template's folder without it."`
	Parameter map[string]string `env:"LAMINA_PARAMETER" mapsep:"none" placeholder:"NAME=VALUE" help:"Value of a parameter. May be given several times; what is not given stays as it was."`
	Watch     bool              `env:"LAMINA_WATCH" help:"Deploy again when the template or the code changes, until Ctrl-C."`
	stackServer
}

type stackVerbs struct {
	Delete deleteStackVerb `cmd:"" help:"Delete a stack and its resources."`
}

type deleteStackVerb struct {
	Stack string `arg:"" help:"Name of the stack."`
	stackServer
}

// errNoChanges is a deployment that has nothing to do.
var errNoChanges = errors.New("no changes")

// Run deploys once, or whenever something changes. What the stack puts out goes
// to the answer, all else to the notes.
func (v *deployVerb) Run(ctx context.Context, s streams) error {
	name, err := v.name()
	if err != nil {
		return err
	}
	api, err := v.client()
	if err != nil {
		return err
	}
	d := &deployer{api: api, name: name, template: v.Template, parameters: v.Parameter, notes: s.notes}
	for {
		began := time.Now()
		err := d.deploy(ctx)
		switch {
		case errors.Is(err, errNoChanges):
			d.note("%s is up to date: no changes", name)
			err = d.outputs(ctx, s.out)
		case err == nil:
			d.note("%s deployed in %s", name, seconds(time.Since(began)))
			err = d.outputs(ctx, s.out)
		}
		if !v.Watch {
			return v.explain(err)
		}
		if ctx.Err() != nil {
			return nil // Ctrl-C is how watching ends
		}
		if err != nil {
			d.note("%v", v.explain(err))
		}
		changed, err := d.await(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		d.note("\n%s changed", strings.Join(changed, ", "))
	}
}

var stackName = regexp.MustCompile(`^[a-zA-Z][-a-zA-Z0-9]{0,127}$`)

// name is the given name of the stack, or one made of the template's folder.
func (v *deployVerb) name() (string, error) {
	if v.Stack != "" {
		if !stackName.MatchString(v.Stack) {
			return "", hint(fmt.Errorf("--stack %s is no name of a stack", v.Stack), "it begins with a letter, and has letters, digits and hyphens")
		}
		return v.Stack, nil
	}
	dir := filepath.Base(filepath.Dir(v.Template))
	name := strings.Trim(regexp.MustCompile(`[^a-zA-Z0-9]+`).ReplaceAllString(dir, "-"), "-")
	if !stackName.MatchString(name) {
		return "", hint(errors.New("the template's folder makes no name of a stack"), "give one with --stack")
	}
	return name, nil
}

// deployer brings one stack to where its template is.
type deployer struct {
	api        *stackClient
	name       string
	template   string
	parameters map[string]string
	notes      io.Writer
	read       []string          // files and folders that the last deployment read
	seen       map[string]string // what they were then
}

func (d *deployer) note(format string, args ...any) {
	fmt.Fprintf(d.notes, format+"\n", args...)
}

// stackState is what DescribeStacks tells.
type stackState struct {
	StackID    string `xml:"StackId"`
	Status     string `xml:"StackStatus"`
	Reason     string `xml:"StackStatusReason"`
	Parameters []struct {
		Key string `xml:"ParameterKey"`
	} `xml:"Parameters>member"`
	Outputs []struct {
		Key   string `xml:"OutputKey"`
		Value string `xml:"OutputValue"`
	} `xml:"Outputs>member"`
}

// describe returns a stack by name or ARN, with an empty status when there is
// none.
func (d *deployer) describe(ctx context.Context, name string) (stackState, error) {
	var out struct {
		Stacks []stackState `xml:"DescribeStacksResult>Stacks>member"`
	}
	err := d.api.stacks(ctx, "DescribeStacks", url.Values{"StackName": {name}}, &out)
	if refused, ok := errors.AsType[*apiError](err); ok && refused.Code == "ValidationError" && strings.Contains(refused.Text, "does not exist") {
		return stackState{}, nil
	}
	if err != nil {
		return stackState{}, fmt.Errorf("describe the stack: %w", err)
	}
	if len(out.Stacks) == 0 {
		return stackState{}, nil
	}
	return out.Stacks[0], nil
}

// pause waits between two looks at the server.
const pause = 150 * time.Millisecond

func wait(ctx context.Context, how time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(how):
		return nil
	}
}

// deploy packages the template and has the stack become what it says. The error
// is errNoChanges when it is that already.
func (d *deployer) deploy(ctx context.Context) error {
	// Before anything is read, so that what changes meanwhile is a change.
	d.seen = fingerprint(append([]string{d.template}, d.read...))
	p := &packager{api: d.api, note: d.note, done: map[string]string{}}
	text, parameters, err := p.template(ctx, d.template, 0)
	for _, path := range p.read {
		if !slices.Contains(d.read, path) {
			d.read = append(d.read, path)
			for name, was := range fingerprint([]string{path}) {
				if _, ok := d.seen[name]; !ok {
					d.seen[name] = was
				}
			}
		}
	}
	if err == nil {
		d.read = p.read
	}
	if err != nil {
		return err
	}
	now, err := d.ready(ctx)
	if err != nil {
		return err
	}
	exists := now.Status != "" && now.Status != "REVIEW_IN_PROGRESS" && now.Status != "DELETE_COMPLETE"
	in := url.Values{"StackName": {d.name}, "ChangeSetType": {"CREATE"}}
	if exists {
		in.Set("ChangeSetType", "UPDATE")
	}
	if len(text) <= maxInline {
		in.Set("TemplateBody", text)
	} else {
		key, err := p.text(ctx, text)
		if err != nil {
			return fmt.Errorf("upload the template: %w", err)
		}
		in.Set("TemplateURL", p.url(key).(string))
	}
	for i, capability := range []string{"CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"} {
		in.Set("Capabilities.member."+strconv.Itoa(i+1), capability)
	}
	d.give(in, parameters, now)
	return d.change(ctx, in, now)
}

// give adds the values of parameters: the given ones, and for others those that
// the stack has.
func (d *deployer) give(in url.Values, declared []string, now stackState) {
	i := 0
	add := func(name, field, value string) {
		i++
		member := "Parameters.member." + strconv.Itoa(i) + "."
		in.Set(member+"ParameterKey", name)
		in.Set(member+field, value)
	}
	for _, name := range keysInOrder(anyMap(d.parameters), nil) {
		add(name, "ParameterValue", d.parameters[name])
	}
	for _, p := range now.Parameters {
		if _, given := d.parameters[p.Key]; !given && slices.Contains(declared, p.Key) {
			add(p.Key, "UsePreviousValue", "true")
		}
	}
}

func anyMap(m map[string]string) map[string]any {
	out := make(map[string]any, len(m))
	for name, value := range m {
		out[name] = value
	}
	return out
}

// ready waits for what is under way, and removes what is left of a stack whose
// creation has failed: it can't become anything else.
func (d *deployer) ready(ctx context.Context) (stackState, error) {
	told := false
	for {
		now, err := d.describe(ctx, d.name)
		switch {
		case err != nil:
			return stackState{}, err
		case now.Status == "ROLLBACK_COMPLETE" || now.Status == "ROLLBACK_FAILED" || now.Status == "DELETE_FAILED" || now.Status == "CREATE_FAILED":
			d.note("%s is in %s: removing what is left of it", d.name, now.Status)
			if err := d.delete(ctx, now); err != nil {
				return stackState{}, err
			}
		case !strings.HasSuffix(now.Status, "_IN_PROGRESS") || now.Status == "REVIEW_IN_PROGRESS":
			return now, nil
		case !told:
			told = true
			d.note("%s is in %s: waiting", d.name, now.Status)
		}
		if err := wait(ctx, pause); err != nil {
			return stackState{}, err
		}
	}
}

// changeSet is what DescribeChangeSet tells.
type changeSet struct {
	Status string `xml:"DescribeChangeSetResult>Status"`
	Reason string `xml:"DescribeChangeSetResult>StatusReason"`
	Next   string `xml:"DescribeChangeSetResult>NextToken"`
}

// change makes a change set and executes it.
func (d *deployer) change(ctx context.Context, in url.Values, now stackState) error {
	in.Set("ChangeSetName", "lamina-deploy-"+strconv.FormatInt(time.Now().UnixMilli(), 10))
	in.Set("Description", "made by lamina deploy")
	var made struct {
		ID      string `xml:"CreateChangeSetResult>Id"`
		StackID string `xml:"CreateChangeSetResult>StackId"`
	}
	if err := d.api.stacks(ctx, "CreateChangeSet", in, &made); err != nil {
		return fmt.Errorf("work out the changes: %w", err)
	}
	set := url.Values{"ChangeSetName": {made.ID}}
	for {
		var c changeSet
		if err := d.api.stacks(ctx, "DescribeChangeSet", set, &c); err != nil {
			return fmt.Errorf("work out the changes: %w", err)
		}
		if c.Status == "FAILED" {
			// It is of no more use; that it stays is no harm.
			_ = d.api.stacks(ctx, "DeleteChangeSet", set, nil)
			if strings.Contains(c.Reason, "didn't contain changes") || strings.Contains(c.Reason, "No updates are to be performed") {
				return errNoChanges
			}
			return fmt.Errorf("work out the changes: %s", c.Reason)
		}
		if c.Status == "CREATE_COMPLETE" {
			break
		}
		if err := wait(ctx, pause/3); err != nil {
			return err
		}
	}
	f, err := d.follow(ctx, made.StackID)
	if err != nil {
		return err
	}
	if err := d.api.stacks(ctx, "ExecuteChangeSet", set, nil); err != nil {
		return fmt.Errorf("execute the changes: %w", err)
	}
	return d.finish(ctx, f, "CREATE_COMPLETE", "UPDATE_COMPLETE")
}

// finish shows what happens to a stack until it is over. The error tells why it
// did not end in one of the wanted statuses.
func (d *deployer) finish(ctx context.Context, f *follower, wanted ...string) error {
	defer f.close()
	for {
		// The status first: the events that led to it are there then.
		now, err := d.describe(ctx, f.stackID)
		if err == nil {
			err = f.look(ctx)
		}
		if err != nil {
			if ctx.Err() != nil {
				f.close()
				return hint(errors.New("interrupted"), "the stack goes on without this command; lamina deploy waits for it")
			}
			return fmt.Errorf("follow the stack: %w", err)
		}
		switch {
		case !f.started, strings.HasSuffix(now.Status, "_IN_PROGRESS"):
		case slices.Contains(wanted, now.Status):
			return nil
		default:
			f.close()
			return d.why(ctx, f, now)
		}
		if err := wait(ctx, pause); err != nil && ctx.Err() == nil {
			return err
		}
	}
}

// outputs prints what the stack puts out.
func (d *deployer) outputs(ctx context.Context, out io.Writer) error {
	now, err := d.describe(ctx, d.name)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, o := range now.Outputs {
		fmt.Fprintf(table, "%s\t%s\n", o.Key, o.Value)
	}
	return table.Flush()
}

// delete deletes the stack and waits until it is gone.
func (d *deployer) delete(ctx context.Context, now stackState) error {
	f, err := d.follow(ctx, now.StackID)
	if err != nil {
		return err
	}
	if err := d.api.stacks(ctx, "DeleteStack", url.Values{"StackName": {now.StackID}}, nil); err != nil {
		return fmt.Errorf("delete the stack: %w", err)
	}
	return d.finish(ctx, f, "DELETE_COMPLETE")
}

// Run deletes a stack. One that is not there is an error: the name is wrong.
func (v *deleteStackVerb) Run(ctx context.Context, s streams) error {
	api, err := v.client()
	if err != nil {
		return err
	}
	d := &deployer{api: api, name: v.Stack, notes: s.notes}
	now, err := d.describe(ctx, v.Stack)
	if err != nil {
		return v.explain(err)
	}
	if now.Status == "" || now.Status == "DELETE_COMPLETE" {
		return fmt.Errorf("there is no stack %s", v.Stack)
	}
	began := time.Now()
	if err := d.delete(ctx, now); err != nil {
		return v.explain(err)
	}
	d.note("%s deleted in %s", v.Stack, seconds(time.Since(began)))
	return nil
}

func seconds(took time.Duration) string {
	return strconv.FormatFloat(took.Seconds(), 'f', 1, 64) + " s"
}

// fingerprint tells of each file what changes with it. Folders stand for the files
// in them.
func fingerprint(paths []string) map[string]string {
	out := make(map[string]string)
	for _, path := range paths {
		files, err := filesOf(path)
		if err != nil {
			out[path] = err.Error()
			continue
		}
		for _, f := range files {
			out[f.path] = fmt.Sprintf("%d %d %v", f.info.Size(), f.info.ModTime().UnixNano(), f.info.Mode())
		}
	}
	return out
}

// watchPause is how long nothing may change before it is deployed.
const watchPause = 300 * time.Millisecond

// await returns when something that the deployment read has changed and is quiet
// again, and tells what.
func (d *deployer) await(ctx context.Context) ([]string, error) {
	d.note("watching for changes (%s); Ctrl-C ends it", files(len(fingerprint(d.read))))
	last := d.seen
	for {
		if err := wait(ctx, watchPause); err != nil {
			return nil, err
		}
		now := fingerprint(d.read)
		changed := differences(d.seen, now)
		if len(changed) > 0 && len(differences(last, now)) == 0 {
			return changed, nil
		}
		last = now
	}
}

func files(n int) string {
	if n == 1 {
		return "1 file"
	}
	return strconv.Itoa(n) + " files"
}

// maxChanged bounds how many names of changed files are shown.
const maxChanged = 5

// differences names the files that differ, as they are seen from here.
func differences(a, b map[string]string) []string {
	var out []string
	for path, was := range a {
		if is, ok := b[path]; !ok || is != was {
			out = append(out, path)
		}
	}
	for path := range b {
		if _, ok := a[path]; !ok {
			out = append(out, path)
		}
	}
	slices.Sort(out)
	here, err := os.Getwd()
	for i, path := range out {
		if near, relErr := filepath.Rel(here, path); err == nil && relErr == nil && !strings.HasPrefix(near, "..") {
			out[i] = near
		}
	}
	if more := len(out) - maxChanged; more > 0 {
		out = append(out[:maxChanged], fmt.Sprintf("%d more", more))
	}
	return out
}
