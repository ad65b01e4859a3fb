package resources

import "context"

// What SAM's DeploymentPreference makes. An alias moves to another version at
// once, which is the one way of deploying that there is: applications and groups
// are names that say so.

// atOnce is the configuration of a group that moves all traffic at once.
const atOnce = "CodeDeployDefault.LambdaAllAtOnce"

const onlyAtOnce = "Lamina moves an alias to another version at once, not bit by bit: the only value is " + atOnce + ", which AllAtOnce is in SAM"

func createDeployment(nameProperty string) func(context.Context, *work) (Made, error) {
	return func(_ context.Context, w *work) (Made, error) {
		if err := w.deploysAtOnce(); err != nil {
			return Made{}, err
		}
		if name := w.in.str(nameProperty); name != "" {
			return Made{PhysicalID: name}, nil
		}
		return Made{PhysicalID: w.generated(100)}, nil
	}
}

func updateDeploymentGroup(_ context.Context, w *work) (Made, error) {
	return Made{PhysicalID: w.PhysicalID}, w.deploysAtOnce()
}

// deploysAtOnce checks what may not have been known before.
func (w *work) deploysAtOnce() error {
	if name := w.in.str("DeploymentConfigName"); name != "" && name != atOnce {
		return invalid("%s: %s", name, onlyAtOnce)
	}
	return nil
}

func checkDeploymentGroup(c *checker, p map[string]any) {
	if name, ok := p["DeploymentConfigName"].(string); ok && name != atOnce {
		c.add("/DeploymentConfigName", "%s: %s", name, onlyAtOnce)
	}
}
