package store

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/lamina-run/lamina"
)

// TestPlans runs the package's statements and asks SQLite how: none may read a
// whole table or sort what it read, but those that return all of it.
func TestPlans(t *testing.T) {
	t.Parallel()
	s := open(t, sqliteOptions(t))
	tour(t, s)

	whole := []string{
		"SELECT " + accountColumns + " FROM account ORDER BY id",
		"SELECT " + organizationColumns + " FROM organization ORDER BY id",
		"SELECT name FROM migration",
	}
	files, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files { // they run once, and on tables that later ones drop
		text, err := migrations.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		whole = slices.AppendSeq(whole, iter.Seq[string](statements(string(text))))
	}
	few := []string{ // what they scan is a page, or as few rows as the index is partial
		"SCAN CONSTANT ROW", "SCAN f", "SCAN l",
		"SCAN v USING INDEX function_version_pending",
		"SCAN m USING INDEX event_source_mapping_under_way",
		"SCAN event USING INDEX event_due", // to the first of another function
	}
	exact := map[string]string{ // part of a statement to part of how it searches
		"m.function = $5 AND m.source = $6": "function=? AND source=? AND uuid>?", // either alone may have thousands
		"SELECT SUM(provisioned)":           "USING COVERING INDEX",
	}
	var texts []string
	db := s.db.(*sqliteDB)
	sessions := append([]mode{write}, slices.Repeat([]mode{read}, readers)...) // Views take turns with these
	for _, m := range sessions {
		session, err := db.acquire(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		for text := range session.stmts {
			texts = append(texts, text)
		}
		db.release(session, m, false)
	}
	slices.Sort(texts)
	texts = slices.Compact(texts)
	checked := 0
	for _, text := range texts {
		verb, _, _ := strings.Cut(text, " ")
		if slices.Contains(whole, text) || !slices.Contains([]string{"SELECT", "UPDATE", "DELETE", "INSERT"}, verb) {
			continue
		}
		checked++
		view(t, s, func(tx *Tx) error {
			args := make([]any, strings.Count(text, "$")) // NULLs; at least as many as the text has
			for n := len(args); n > 0 && !strings.Contains(text, fmt.Sprint("$", n)); n-- {
				args = args[:n-1]
			}
			return tx.each(t.Context(), func(r scanner) error {
				var id, parent, unused int
				var detail string
				if err := r.Scan(&id, &parent, &unused, &detail); err != nil {
					return err
				}
				for part, want := range exact {
					if strings.Contains(text, part) && strings.HasPrefix(detail, "SEARCH ") && !strings.Contains(detail, want) {
						t.Errorf("%s; want %s\n%s", detail, want, text)
					}
				}
				scan := strings.HasPrefix(detail, "SCAN ") && !slices.Contains(few, detail)
				if scan || strings.Contains(detail, "TEMP B-TREE") {
					t.Errorf("%s\n%s", detail, text)
				}
				return nil
			}, "EXPLAIN QUERY PLAN "+text, args...)
		})
	}
	if checked < 60 {
		t.Errorf("%d statements checked; want those of the whole package", checked)
	}
}

// tour calls every method.
func tour(t *testing.T, s *Store) {
	tourStacks(t, s)
	ctx := t.Context()
	id := functionID("hello")
	somebody, somegroup := IdentityRef{"1", KindUser, "u"}, IdentityRef{"1", KindGroup, "g"}
	createFunction(t, s, id)
	createFunction(t, s, functionID("other"))
	publish(t, s, id)
	layer := publishLayer(t, s, layerID("geo"), nil)
	update(t, s, func(tx *Tx) error {
		latest, err := tx.FunctionVersion(ctx, id, 0)
		latest.Config.Layers = []lamina.AttachedLayer{{ARN: layer.ARN(), Digest: layer.Digest}}
		_, lockErr := tx.LockLayerVersion(ctx, layer.Layer, 1)
		_, statusErr := tx.SetStatus(ctx, latest, lamina.Status{}, "")
		errs := []error{
			err, lockErr, statusErr,
			tx.PutFunctionVersion(ctx, latest),
			tx.InsertAlias(ctx, lamina.Alias{Function: id, Name: "a", Target: "1"}),
			tx.PutAlias(ctx, lamina.Alias{Function: id, Name: "a", Target: "1"}),
			tx.PutEventInvokeConfig(ctx, lamina.EventInvokeConfig{Function: id, Qualifier: "a"}),
			tx.InsertFunctionURL(ctx, lamina.FunctionURL{Function: id, ID: "u"}),
			tx.UpdateFunctionURL(ctx, lamina.FunctionURL{Function: id, ID: "u"}),
			tx.SetRecursiveLoop(ctx, id, "Allow"),
			tx.PutRuntimeManagement(ctx, id, 1, lamina.RuntimeManagement{}),
			tx.PutPolicy(ctx, lamina.Policy{Resource: "r", Statements: []lamina.Statement{{}}}),
			tx.PutPolicy(ctx, lamina.Policy{Resource: "r"}),
			tx.SetTags(ctx, "r", map[string]string{"k": "v"}),
			tx.DeleteTags(ctx, "r", []string{"k"}),
			tx.LockUsage(ctx, scope),
			tx.SetReservedConcurrency(ctx, id, nil),
			tx.PutProvisioned(ctx, lamina.Provisioned{Function: id, Qualifier: "a", Requested: 1}),
			tx.SetRevision(ctx, latest, "r"),
			tx.InsertAccount(ctx, Account{ID: "1"}),
			tx.PutAccessKey(ctx, AccessKey{ID: "k", Account: "1"}),
			tx.InsertOrganization(ctx, Organization{ID: "o"}),
			tx.SetAccountOrganization(ctx, "1", "o", now),
			tx.SetAccountAlias(ctx, "1", "alias"),
			tx.UseAccessKey(ctx, "k", AccessKeyUse{Time: now}),
			tx.InsertIdentity(ctx, Identity{IdentityRef: somebody, ID: "i"}),
			tx.InsertIdentity(ctx, Identity{IdentityRef: somegroup, ID: "g"}),
			tx.UpdateIdentity(ctx, Identity{IdentityRef: somebody, ID: "i"}),
			tx.AttachPolicy(ctx, somebody, "arn"),
			tx.PutInlinePolicy(ctx, somebody, InlinePolicy{"p", "{}"}),
			tx.AddMember(ctx, somegroup, somebody),
			tx.InsertPolicyDocument(ctx, PolicyDocument{Account: "1", Name: "p"}),
			tx.PutSetting(ctx, "k", "v"),
			tx.InsertEvent(ctx, event(1), roomy),
			tx.InsertEventSourceMapping(ctx, queueMapping(1, "hello", "q")),
			tx.PutEventSourceMapping(ctx, queueMapping(1, "hello", "q")),
			tx.RenewEvents(ctx, "a", now),
			tx.ReleaseEvents(ctx, "a", now),
			tx.InsertDelivery(ctx, delivery(1), roomy),
			tx.InsertBucket(ctx, Bucket{Name: "b", Account: "1", Documents: map[string]string{"cors": ""}}),
			tx.DeleteBucketDocument(ctx, "b", "cors"),
			tx.ReleaseDeliveries(ctx, "a", now),
		}
		_, err = tx.LockPolicy(ctx, "r")
		if !errors.Is(err, lamina.ErrNotFound) {
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})
	filters := []LayerFilter{{}, {Runtime: "python3.12"}}
	update(t, s, func(tx *Tx) error {
		_, _, usageErr := tx.CodeUsage(ctx, scope)
		errs := []error{usageErr}
		call := func(_ any, err error) {
			if !errors.Is(err, lamina.ErrNotFound) {
				errs = append(errs, err)
			}
		}
		for _, f := range filters {
			call(tx.Layers(ctx, scope, f, "", 5))
			call(tx.LayerVersions(ctx, layer.Layer, f, 0, 5))
		}
		call(tx.Bucket(ctx, "b"))
		call(tx.Buckets(ctx, "1", "", 5))
		call(tx.BucketsOfAll(ctx, "", 5))
		call(tx.LayerVersion(ctx, layer.Layer, 1))
		call(tx.Function(ctx, id))
		call(tx.LastFunctionVersion(ctx, id))
		call(tx.FunctionVersions(ctx, id, -1, 5))
		call(tx.Functions(ctx, scope, "", 5))
		call(tx.AllFunctionVersions(ctx, scope, "", 0, 5))
		call(tx.PendingVersions(ctx, 5))
		call(tx.FunctionsUsing(ctx, layer.ARN(), 5))
		for _, f := range []EventSourceFilter{{}, {FunctionARN: "a"}, {SourceARN: "a"}, {FunctionARN: "a", SourceARN: "a"}} {
			call(tx.EventSourceMappings(ctx, scope, f, "", 5))
		}
		call(tx.EventSourceMapping(ctx, scope, "u"))
		call(tx.LockEventSourceMapping(ctx, scope, "u"))
		call(tx.EventSourceMappingReading(ctx, queueMapping(1, "hello", "q")))
		call(tx.EventSourceMappingsUnderWay(ctx, 5))
		mapping := queueMapping(1, "hello", "q")
		call(tx.SettleEventSourceMapping(ctx, mapping, lamina.MappingEnabled, now))
		mapping.State, mapping.LastModified = lamina.MappingEnabled, now
		call(tx.SettleEventSourceMapping(ctx, mapping, "", now))
		call(tx.Alias(ctx, id, "a"))
		call(tx.Aliases(ctx, id, "", "", 5))
		call(tx.Aliases(ctx, id, "1", "", 5))
		call(tx.AliasesOf(ctx, id, 1))
		call(tx.EventInvokeConfig(ctx, id, "a"))
		call(tx.EventInvokeConfigs(ctx, id, "", 5))
		call(tx.DeleteEventInvokeConfig(ctx, id, "b"))
		call(tx.FunctionURL(ctx, id, ""))
		call(tx.FunctionURLByID(ctx, "u"))
		call(tx.FunctionURLs(ctx, id, "", 5))
		call(tx.DeleteFunctionURL(ctx, id, ""))
		call(tx.RecursiveLoop(ctx, id))
		call(tx.RuntimeManagement(ctx, id, 1))
		call(tx.Policy(ctx, "r"))
		call(tx.Tags(ctx, "r"))
		call(tx.ReservedTotal(ctx, scope, id))
		call(tx.Provisioned(ctx, id, "a"))
		call(tx.FunctionProvisioned(ctx, id, "", 5))
		call(tx.AllProvisioned(ctx, lamina.Provisioned{}, 5))
		call(tx.Referenced(ctx, layer.Digest))
		call(tx.Accounts(ctx))
		call(tx.Account(ctx, "1"))
		call(tx.AccessKey(ctx, "k"))
		call(tx.LockAccount(ctx, "1"))
		call(tx.AccessKeys(ctx, "1", ""))
		call(tx.OrganizationAccounts(ctx, "o"))
		call(tx.Organization(ctx, "o"))
		call(tx.Organizations(ctx))
		call(tx.Identity(ctx, somebody))
		call(tx.LockIdentity(ctx, somebody))
		call(tx.Identities(ctx, "1", KindUser, "", "", 5))
		call(tx.CountIdentities(ctx, "1", KindUser))
		call(tx.AttachedPolicies(ctx, somebody))
		call(tx.InlinePolicies(ctx, somebody))
		call(tx.Members(ctx, somegroup, KindUser))
		call(tx.MemberOf(ctx, somebody, KindGroup))
		_, _, withErr := tx.IdentitiesWith(ctx, "1", "arn")
		_, _, usesErr := tx.PolicyUses(ctx, "1")
		errs = append(errs, withErr, usesErr)
		document, err := tx.LockPolicyDocument(ctx, "1", "p")
		call(document, err)
		call(tx.InsertPolicyDocumentVersion(ctx, document, "{}", now, true))
		call(tx.PolicyDocumentVersions(ctx, "1", "p"))
		call(tx.DeletePolicyDocumentVersion(ctx, "1", "p", 1))
		call(tx.PolicyDocument(ctx, "1", "p"))
		call(tx.PolicyDocuments(ctx, "1", "", 5))
		call(tx.Setting(ctx, "k"))
		call(tx.ClaimEvents(ctx, "a", now, now, lamina.FunctionID{}, 5))
		call(tx.NextEvent(ctx, lamina.FunctionID{}))
		call(tx.EventBacklog(ctx, scope))
		call(tx.Event(ctx, "r"))
		call(tx.PutBackEvent(ctx, event(1), "a", now))
		call(tx.FinishEvent(ctx, event(1), "a", lamina.EventSuccess, now))
		call(tx.PruneEvents(ctx, now, 5, 5))
		call(tx.ClaimDeliveries(ctx, "sqs", "a", now, now, 5))
		call(tx.NextDelivery(ctx, "sqs"))
		call(tx.DeliveryBacklog(ctx, scope))
		call(tx.PutBackDelivery(ctx, delivery(1), "a", now))
		call(tx.RemoveDelivery(ctx, delivery(1), "a"))
		call(tx.DetachPolicy(ctx, somebody, "arn"))
		call(tx.DeleteInlinePolicy(ctx, somebody, "p"))
		call(tx.RemoveMember(ctx, somegroup, somebody))
		errs = append(errs, tx.RenameIdentity(ctx, somebody, "v"))
		call(tx.DeleteIdentity(ctx, somegroup))
		call(tx.DeletePolicyDocument(ctx, "1", "p"))
		call(tx.DeleteAccessKey(ctx, "k"))
		call(tx.DeleteAlias(ctx, id, "a"))
		call(tx.DeleteFunctionVersion(ctx, id, 1))
		call(tx.DeleteLayerVersion(ctx, layer.Layer, 1))
		errs = append(errs, tx.DeleteFunction(ctx, id))
		return errors.Join(errs...)
	})
}
