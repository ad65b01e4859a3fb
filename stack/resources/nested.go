package resources

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// nestedLimit bounds the wait for a stack in a stack; the stack's own limits come
// first.
const nestedLimit = 24 * time.Hour

// nested is a stack as DescribeStacks shows it.
type nested struct {
	StackId           string
	StackStatus       string
	StackStatusReason string
	Outputs           []struct{ OutputKey, OutputValue string } `xml:"Outputs>member"`
}

func (w *work) describeStack(ctx context.Context, name string) (*nested, error) {
	var out struct {
		Stacks []nested `xml:"DescribeStacksResult>Stacks>member"`
	}
	err := w.query(ctx, "cloudformation", "DescribeStacks", url.Values{"StackName": {name}}, &out)
	if f, ok := asFailure(err); ok && f.Code == "ValidationError" && strings.Contains(f.Message, "does not exist") {
		return nil, nil
	}
	if err != nil || len(out.Stacks) == 0 {
		return nil, err
	}
	return &out.Stacks[0], nil
}

func (n *nested) made() Made {
	all := map[string]any{"StackId": n.StackId}
	for _, o := range n.Outputs {
		all["Outputs."+o.OutputKey] = o.OutputValue
	}
	return Made{PhysicalID: n.StackId, Attributes: all}
}

// stackForm is what CreateStack and UpdateStack want.
func (w *work) stackForm(name string) url.Values {
	form := url.Values{"StackName": {name}, "TemplateURL": {w.in.str("TemplateURL")}, "ClientRequestToken": {w.requestToken()}}
	for i, c := range []string{"CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"} { // as the outer stack was allowed
		form.Set(fmt.Sprintf("Capabilities.member.%d", i+1), c)
	}
	parameters := w.in.sub("Parameters")
	for i, key := range sortedKeys(parameters) {
		form.Set(fmt.Sprintf("Parameters.member.%d.ParameterKey", i+1), key)
		form.Set(fmt.Sprintf("Parameters.member.%d.ParameterValue", i+1), parameters.str(key))
	}
	for i, arn := range w.in.strings("NotificationARNs") {
		form.Set(fmt.Sprintf("NotificationARNs.member.%d", i+1), arn)
	}
	return tagForm(form, w.allTags())
}

// requestToken is the step's token in the form of a ClientRequestToken.
func (w *work) requestToken() string { return uuidOf(w.Token) }

func createNested(ctx context.Context, w *work) (Made, error) {
	name := w.generated(128)
	form := w.stackForm(name)
	form.Set("DisableRollback", "false")
	form.Set("OnFailure", "ROLLBACK")
	if n, ok := w.in.int("TimeoutInMinutes"); ok {
		form.Set("TimeoutInMinutes", fmt.Sprint(n))
	}
	err := w.query(ctx, "cloudformation", "CreateStack", form, nil)
	if isExisting(err) && w.Again { // nobody else has the name
		err = nil
	}
	if err != nil {
		return Made{}, err
	}
	n, err := w.stackSettled(ctx, name)
	if err != nil {
		return Made{PhysicalID: name}, err
	}
	made := n.made()
	if n.StackStatus != "CREATE_COMPLETE" {
		return made, because("Embedded stack %s was not successfully created: %s", n.StackId, n.reason())
	}
	return made, nil
}

func (n *nested) reason() string {
	if n.StackStatusReason != "" {
		return n.StackStatusReason
	}
	return "its status is " + n.StackStatus
}

// stackSettled waits until nothing changes a stack any more.
func (w *work) stackSettled(ctx context.Context, name string) (n *nested, err error) {
	late := &Failure{Handler: "NotStabilized", Message: "Stack " + name + " did not settle in time."}
	err = w.await(ctx, nestedLimit, late, func() (bool, error) {
		if n, err = w.describeStack(ctx, name); err != nil {
			return false, err
		}
		if n == nil {
			return false, &Failure{Handler: "NotFound", Message: "Stack with id " + name + " does not exist"}
		}
		return !strings.HasSuffix(n.StackStatus, "_IN_PROGRESS"), nil
	})
	return n, err
}

func updateNested(ctx context.Context, w *work) (Made, error) {
	made := Made{PhysicalID: w.PhysicalID}
	if w.Again { // an earlier attempt's update may be under way
		if _, err := w.stackSettled(ctx, w.PhysicalID); err != nil {
			return made, err
		}
	}
	err := w.query(ctx, "cloudformation", "UpdateStack", w.stackForm(w.PhysicalID), nil)
	f, failed := asFailure(err)
	unchanged := failed && strings.Contains(f.Message, "No updates are to be performed")
	if unchanged {
		err = nil
	}
	if err != nil {
		return made, err
	}
	n, err := w.stackSettled(ctx, w.PhysicalID)
	if err != nil {
		return made, err
	}
	if unchanged || n.StackStatus == "UPDATE_COMPLETE" {
		return n.made(), nil
	}
	return made, because("Embedded stack %s was not successfully updated: %s", n.StackId, n.reason())
}

func deleteNested(ctx context.Context, w *work) error {
	n, err := w.describeStack(ctx, w.PhysicalID)
	if err != nil || n == nil || n.StackStatus == "DELETE_COMPLETE" {
		return err
	}
	id := n.StackId
	if n.StackStatus != "DELETE_IN_PROGRESS" {
		form := url.Values{"StackName": {id}, "ClientRequestToken": {w.requestToken()}}
		if err := w.query(ctx, "cloudformation", "DeleteStack", form, nil); err != nil {
			return err
		}
	}
	late := &Failure{Handler: "NotStabilized", Message: "Stack " + id + " was not deleted in time."}
	return w.await(ctx, nestedLimit, late, func() (bool, error) {
		n, err := w.describeStack(ctx, id)
		switch {
		case err != nil:
			return false, err
		case n == nil, n.StackStatus == "DELETE_COMPLETE":
			return true, nil
		case n.StackStatus == "DELETE_FAILED":
			return false, because("Embedded stack %s was not successfully deleted: %s", id, n.reason())
		}
		return false, nil
	})
}
