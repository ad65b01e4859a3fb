package resources

import "context"

func (w *work) putParameter(ctx context.Context, name string, overwrite bool) error {
	in := object(w.in.pick("AllowedPattern", "DataType", "Description", "Tier", "Type", "Value"))
	in["Name"] = name
	if overwrite {
		in["Overwrite"] = true
		for _, property := range []string{"AllowedPattern", "Description"} {
			if !w.in.has(property) && w.old.has(property) {
				in[property] = "" // else the last version's stays
			}
		}
	} else {
		in["Tags"] = tagList(w.allTags())
	}
	return w.ssm(ctx, "PutParameter", in, nil)
}

func tagList(tags map[string]string) []any {
	all := make([]any, 0, len(tags))
	for _, key := range sortedKeys(tags) {
		all = append(all, object{"Key": key, "Value": tags[key]})
	}
	return all
}

func (w *work) madeParameter(name string) Made {
	path := name
	if path != "" && path[0] == '/' {
		path = path[1:]
	}
	return Made{PhysicalID: name, Attributes: map[string]any{
		"Type": w.in.str("Type"), "Value": w.in.str("Value"),
		"Arn": "arn:aws:ssm:" + w.Stack.Region + ":" + w.Stack.Account + ":parameter/" + path,
	}}
}

func createParameter(ctx context.Context, w *work) (Made, error) {
	name := w.in.str("Name")
	if name == "" {
		name = "CFN-" + w.LogicalID + "-" + w.Seed
	}
	err := w.putParameter(ctx, name, false)
	if isExisting(err) {
		mine := w.adopts("Name")
		if w.Again && !mine {
			var out struct{ TagList []struct{ Key, Value string } }
			if err := w.ssm(ctx, "ListTagsForResource", object{"ResourceType": "Parameter", "ResourceId": name}, &out); err != nil {
				return Made{}, err
			}
			tags := map[string]string{}
			for _, t := range out.TagList {
				tags[t.Key] = t.Value
			}
			mine = w.ours(tags)
		}
		if !mine {
			return Made{}, w.alreadyExists(name)
		}
	} else if err != nil {
		return Made{}, err
	}
	return w.madeParameter(name), nil
}

func updateParameter(ctx context.Context, w *work) (Made, error) {
	name := w.PhysicalID
	made := w.madeParameter(name)
	for _, property := range []string{"AllowedPattern", "DataType", "Description", "Tier", "Type", "Value"} {
		if !w.changed(property) {
			continue
		}
		if err := w.putParameter(ctx, name, true); err != nil {
			return made, err
		}
		break
	}
	set, remove := w.tagChanges()
	about := func(more object) object {
		more["ResourceType"], more["ResourceId"] = "Parameter", name
		return more
	}
	if len(remove) > 0 {
		if err := w.ssm(ctx, "RemoveTagsFromResource", about(object{"TagKeys": remove}), nil); err != nil {
			return made, err
		}
	}
	if len(set) > 0 {
		return made, w.ssm(ctx, "AddTagsToResource", about(object{"Tags": tagList(set)}), nil)
	}
	return made, nil
}

func deleteParameter(ctx context.Context, w *work) error {
	return w.ssm(ctx, "DeleteParameter", object{"Name": w.PhysicalID}, nil)
}
