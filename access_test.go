package lamina

import "testing"

func TestPolicyAllows(t *testing.T) {
	t.Parallel()
	const account, arn = "111122223333", "arn:aws:iam::111122223333:user/u"
	statement := func(kind, value, action string) Statement {
		return Statement{Effect: "Allow", Principal: Principal{Kind: kind, Value: value}, Action: action}
	}
	conditioned := func(operator, key, value string) Statement {
		s := statement("", "*", "lambda:InvokeFunction")
		s.Condition = map[string]map[string]string{operator: {key: value}}
		return s
	}
	for name, c := range map[string]struct {
		statement Statement
		stranger  bool
		want      bool
	}{
		"everyone":                  {statement("", "*", "lambda:InvokeFunction"), true, true},
		"everyone, as an object":    {statement("AWS", "*", "lambda:InvokeFunction"), true, true},
		"action in other capitals":  {statement("", "*", "lambda:invokefunction"), true, true},
		"every action":              {statement("", "*", "*"), true, true},
		"every action of lambda":    {statement("", "*", "lambda:*"), true, true},
		"another action":            {statement("", "*", "lambda:InvokeFunctionUrl"), true, false},
		"the account":               {statement("AWS", "arn:aws:iam::111122223333:root", "*"), false, true},
		"the account's number":      {statement("AWS", account, "*"), false, true},
		"the user":                  {statement("AWS", arn, "*"), false, true},
		"another user":              {statement("AWS", arn+"2", "*"), false, false},
		"a service":                 {statement("Service", "s3.amazonaws.com", "*"), false, false},
		"an account, of a stranger": {statement("AWS", "arn:aws:iam:::root", "*"), true, false},
		"a deny":                    {Statement{Effect: "Deny", Principal: Principal{Value: "*"}, Action: "*"}, true, false},
		"a condition that is met":   {conditioned("StringEquals", "lambda:FunctionUrlAuthType", "NONE"), true, true},
		"a condition that is not":   {conditioned("StringEquals", "lambda:FunctionUrlAuthType", "AWS_IAM"), true, false},
		"a boolean":                 {conditioned("Bool", "lambda:InvokedViaFunctionUrl", "TRUE"), true, true},
		"a key without a value":     {conditioned("StringEquals", "AWS:SourceAccount", account), true, false},
		"an unknown operator":       {conditioned("StringLike", "lambda:FunctionUrlAuthType", "*"), true, false},
	} {
		a := Access{Action: "lambda:InvokeFunction", ARN: arn, Account: account, Context: map[string]string{
			"lambda:functionurlauthtype": "NONE", "lambda:invokedviafunctionurl": "true",
		}}
		if c.stranger {
			a.ARN, a.Account = "", ""
		}
		if got := (Policy{Statements: []Statement{c.statement}}).Allows(a); got != c.want {
			t.Errorf("%s: Allows = %t; want %t", name, got, c.want)
		}
	}
	if (Policy{}).Allows(Access{}) {
		t.Error("an empty policy allows")
	}
}
