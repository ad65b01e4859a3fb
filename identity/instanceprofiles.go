package identity

import (
	"context"

	"github.com/lamina-run/lamina/store"
)

// Instance profiles are kept and listed, since Terraform and other tools ask for
// them. Lambda has no instances that would use them.

// showProfile is an instance profile with its role.
func showProfile(ctx context.Context, tx *store.Tx, p store.Identity) (identityXML, error) {
	x := showIdentity(p)
	names, err := tx.Members(ctx, p.IdentityRef, store.KindRole)
	if err != nil {
		return x, err
	}
	all, err := readAll(ctx, tx, p.Account, store.KindRole, names)
	list := showIdentities(all)
	x.Roles = &list
	return x, err
}

func showProfiles(ctx context.Context, tx *store.Tx, all []store.Identity) (out []identityXML, err error) {
	for _, p := range all {
		x, err := showProfile(ctx, tx, p)
		if err != nil {
			return nil, err
		}
		out = append(out, x)
	}
	return out, nil
}

func (s *iam) createInstanceProfile(ctx context.Context, c Caller, in form) (any, error) {
	i, err := s.newIdentity(c, in, instanceProfiles)
	if err != nil {
		return nil, err
	}
	i.Boundary = ""
	return s.insert(ctx, instanceProfiles, i)
}

func (s *iam) deleteInstanceProfile(ctx context.Context, c Caller, in form) (any, error) {
	return nil, s.edit(ctx, c, in, instanceProfiles, func(tx *store.Tx, p store.Identity) error {
		held, err := tx.Members(ctx, p.IdentityRef, store.KindRole)
		if err != nil {
			return err
		}
		if len(held) > 0 {
			return conflict("Cannot delete entity, must remove roles from instance profile first.")
		}
		_, err = tx.DeleteIdentity(ctx, p.IdentityRef)
		return err
	})
}

func (s *iam) addRoleToInstanceProfile(ctx context.Context, c Caller, in form) (any, error) {
	return nil, s.edit(ctx, c, in, instanceProfiles, func(tx *store.Tx, p store.Identity) error {
		r, err := roles.read(ctx, c, in, tx.LockIdentity)
		if err != nil {
			return err
		}
		held, err := tx.Members(ctx, p.IdentityRef, store.KindRole)
		if err != nil {
			return err
		}
		if len(held) > 0 {
			return limit("InstanceSessionsPerInstanceProfile", 1)
		}
		return tx.AddMember(ctx, p.IdentityRef, r.IdentityRef)
	})
}

func (s *iam) removeRoleFromInstanceProfile(ctx context.Context, c Caller, in form) (any, error) {
	return nil, s.edit(ctx, c, in, instanceProfiles, func(tx *store.Tx, p store.Identity) error {
		ref, err := roles.ref(c, in)
		if err != nil {
			return err
		}
		existed, err := tx.RemoveMember(ctx, p.IdentityRef, ref)
		if err == nil && !existed {
			return roles.absent(ref.Name)
		}
		return err
	})
}

func (s *iam) listInstanceProfilesForRole(ctx context.Context, c Caller, in form) (result any, err error) {
	err = s.view(ctx, c, in, roles, func(tx *store.Tx, r store.Identity) error {
		names, err := tx.MemberOf(ctx, r.IdentityRef, store.KindInstanceProfile)
		if err != nil {
			return err
		}
		names, p, err := paginate(in, names, func(n string) string { return n })
		if err != nil {
			return err
		}
		all, err := readAll(ctx, tx, c.Account, store.KindInstanceProfile, names)
		if err != nil {
			return err
		}
		members, err := showProfiles(ctx, tx, all)
		result = struct {
			page
			InstanceProfiles identitiesXML
		}{p, identitiesXML{members}}
		return err
	})
	return result, err
}
