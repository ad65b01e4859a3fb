package resources

import "context"

// groupARN is the ARN of a log group, as Fn::GetAtt has it and, without its end,
// as operations on tags want it.
func (w *work) groupARN(name string) string {
	return "arn:aws:logs:" + w.Stack.Region + ":" + w.Stack.Account + ":log-group:" + name
}

func createLogGroup(ctx context.Context, w *work) (Made, error) {
	name, _ := w.name("LogGroupName", 512)
	in := object{"logGroupName": name, "tags": w.allTags()}
	for property, member := range map[string]string{"KmsKeyId": "kmsKeyId", "LogGroupClass": "logGroupClass"} {
		if v := w.in.str(property); v != "" {
			in[member] = v
		}
	}
	err := w.logs(ctx, "CreateLogGroup", in, nil)
	if isExisting(err) {
		mine := w.adopts("LogGroupName")
		if w.Again && !mine {
			tags, err := w.groupTags(ctx, name)
			if err != nil {
				return Made{}, err
			}
			mine = w.ours(tags)
		}
		if !mine {
			return Made{}, w.alreadyExists(name)
		}
	} else if err != nil {
		return Made{}, err
	}
	made := Made{PhysicalID: name}
	if w.in.has("RetentionInDays") {
		if err := w.retain(ctx, name); err != nil {
			return made, err
		}
	}
	if w.in["DeletionProtectionEnabled"] == true {
		if err := w.protectGroup(ctx, name, true); err != nil {
			return made, err
		}
	}
	made.Attributes = map[string]any{"Arn": w.groupARN(name) + ":*"}
	return made, nil
}

func (w *work) groupTags(ctx context.Context, name string) (map[string]string, error) {
	var out struct {
		Tags map[string]string `json:"tags"`
	}
	err := w.logs(ctx, "ListTagsForResource", object{"resourceArn": w.groupARN(name)}, &out)
	return out.Tags, err
}

func (w *work) retain(ctx context.Context, name string) error {
	if days, ok := w.in.int("RetentionInDays"); ok {
		return w.logs(ctx, "PutRetentionPolicy", object{"logGroupName": name, "retentionInDays": days}, nil)
	}
	return w.logs(ctx, "DeleteRetentionPolicy", object{"logGroupName": name}, nil)
}

func (w *work) protectGroup(ctx context.Context, name string, on bool) error {
	return w.logs(ctx, "PutLogGroupDeletionProtection", object{"logGroupIdentifier": name, "deletionProtectionEnabled": on}, nil)
}

func updateLogGroup(ctx context.Context, w *work) (Made, error) {
	name := w.PhysicalID
	made := Made{PhysicalID: name, Attributes: map[string]any{"Arn": w.groupARN(name) + ":*"}}
	if w.changed("RetentionInDays") {
		if err := w.retain(ctx, name); err != nil {
			return made, err
		}
	}
	if w.changed("KmsKeyId") {
		var err error
		if key := w.in.str("KmsKeyId"); key != "" {
			err = w.logs(ctx, "AssociateKmsKey", object{"logGroupName": name, "kmsKeyId": key}, nil)
		} else {
			err = w.logs(ctx, "DisassociateKmsKey", object{"logGroupName": name}, nil)
		}
		if err != nil {
			return made, err
		}
	}
	if w.changed("DeletionProtectionEnabled") {
		if err := w.protectGroup(ctx, name, w.in["DeletionProtectionEnabled"] == true); err != nil {
			return made, err
		}
	}
	if w.changed("LogGroupClass") {
		return made, invalid("The class of a log group can't be changed.")
	}
	set, remove := w.tagChanges()
	if len(remove) > 0 {
		if err := w.logs(ctx, "UntagResource", object{"resourceArn": w.groupARN(name), "tagKeys": remove}, nil); err != nil {
			return made, err
		}
	}
	if len(set) > 0 {
		return made, w.logs(ctx, "TagResource", object{"resourceArn": w.groupARN(name), "tags": set}, nil)
	}
	return made, nil
}

func deleteLogGroup(ctx context.Context, w *work) error {
	return w.logs(ctx, "DeleteLogGroup", object{"logGroupName": w.PhysicalID}, nil)
}
