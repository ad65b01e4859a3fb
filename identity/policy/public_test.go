package policy

import "testing"

func TestPublic(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		statement string
		want      bool
	}{
		"everyone":                            {`"Effect":"Allow","Principal":"*"`, true},
		"everyone, spelled as AWS":            {`"Effect":"Allow","Principal":{"AWS":["111122223333","*"]}`, true},
		"everyone but one":                    {`"Effect":"Allow","NotPrincipal":{"AWS":"111122223333"}`, true},
		"a denial":                            {`"Effect":"Deny","Principal":"*"`, false},
		"an account":                          {`"Effect":"Allow","Principal":{"AWS":"111122223333"}`, false},
		"a service":                           {`"Effect":"Allow","Principal":{"Service":"logging.s3.amazonaws.com"}`, false},
		"of an organization":                  {`"Effect":"Allow","Principal":"*","Condition":{"StringEquals":{"aws:PrincipalOrgID":"o-1234567890"}}`, false},
		"of no organization":                  {`"Effect":"Allow","Principal":"*","Condition":{"StringNotEquals":{"aws:PrincipalOrgID":"o-1234567890"}}`, true},
		"of any organization":                 {`"Effect":"Allow","Principal":"*","Condition":{"StringLike":{"aws:PrincipalOrgID":"o-*"}}`, true},
		"of an organization, where there are": {`"Effect":"Allow","Principal":"*","Condition":{"StringEqualsIfExists":{"aws:PrincipalOrgID":"o-1"}}`, true},
		"from a network":                      {`"Effect":"Allow","Principal":"*","Condition":{"IpAddress":{"aws:SourceIp":["10.0.0.0/8","192.0.2.1/32"]}}`, false},
		"from everywhere":                     {`"Effect":"Allow","Principal":"*","Condition":{"IpAddress":{"aws:SourceIp":["10.0.0.0/8","0.0.0.0/1"]}}`, true},
		"about a topic of an account":         {`"Effect":"Allow","Principal":"*","Condition":{"ArnLike":{"aws:SourceArn":"arn:aws:sns:us-east-1:111122223333:*"}}`, false},
		"about a bucket":                      {`"Effect":"Allow","Principal":"*","Condition":{"ArnEquals":{"aws:SourceArn":"arn:aws:s3:::b"}}`, false},
		"about any bucket":                    {`"Effect":"Allow","Principal":"*","Condition":{"ArnLike":{"aws:SourceArn":"arn:aws:s3:::*"}}`, true},
		"by a tag":                            {`"Effect":"Allow","Principal":"*","Condition":{"StringEquals":{"aws:PrincipalTag/a":"b"}}`, true},
		"by a variable":                       {`"Effect":"Allow","Principal":"*","Condition":{"StringEquals":{"aws:userid":"${aws:username}"}}`, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, err := Parse(`{"Version":"2012-10-17","Statement":[{`+c.statement+`,"Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*"}]}`, Rules{Kind: Resource})
			if err != nil {
				t.Fatal(err)
			}
			if got := d.Public(); got != c.want {
				t.Errorf("Public = %v; want %v", got, c.want)
			}
		})
	}
}
