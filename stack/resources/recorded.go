package resources

import "context"

// Resources that are nothing but what a stack remembers of them.

func createRecorded(_ context.Context, w *work) (Made, error) {
	return Made{PhysicalID: w.generated(128)}, nil
}

func deleteRecorded(context.Context, *work) error { return nil }

// A repository of ECR is a name and an address: what CDK's bootstrap wants of it.
// Lamina has no registry; images are pushed to AWS's, or nowhere.
func createRepository(_ context.Context, w *work) (Made, error) {
	name := w.in.str("RepositoryName")
	if name == "" {
		name = lower(w.generated(256))
	}
	return w.madeRepository(name), nil
}

func (w *work) madeRepository(name string) Made {
	return Made{PhysicalID: name, Attributes: map[string]any{
		"Arn":           "arn:aws:ecr:" + w.Stack.Region + ":" + w.Stack.Account + ":repository/" + name,
		"RepositoryUri": w.Stack.Account + ".dkr.ecr." + w.Stack.Region + ".amazonaws.com/" + name,
	}}
}

func updateRepository(_ context.Context, w *work) (Made, error) {
	return w.madeRepository(w.PhysicalID), nil
}
