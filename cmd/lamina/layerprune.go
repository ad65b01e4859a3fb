package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/lamina-run/lamina"
)

type pruneLayersVerb struct {
	Layer  []string `arg:"" optional:"" help:"Names of layers; all of the account and region without any."`
	Keep   int      `default:"1" help:"How many of the newest versions of each layer stay even when nothing uses them."`
	Shared bool     `help:"Delete versions that are shared with other accounts, too. Who of them uses them is not known."`
	DryRun bool     `help:"Only tell what would be deleted. This is so without --yes."`
	Yes    bool     `help:"Delete them. Numbers are not given again, and functions keep what they have."`
	output
	stackServer
}

// prunedVersion is a layer version, and what becomes of it.
type prunedVersion struct {
	LayerVersionArn string
	Version         int64
	CreatedDate     string
	CodeSize        int64  `json:",omitempty"` // only of what is deleted
	Action          string // delete or keep
	Why             string

	layer string
}

// Actions.
const (
	pruneDelete = "delete"
	pruneKeep   = "keep"
)

// Run deletes what nobody uses, or tells what that would be.
func (v *pruneLayersVerb) Run(ctx context.Context, s streams) error {
	if v.Keep < 0 {
		return errors.New("--keep is at least 0")
	}
	if v.Yes && v.DryRun {
		return errors.New("--yes and --dry-run exclude each other")
	}
	api, err := v.api()
	if err != nil {
		return err
	}
	all, err := v.plan(ctx, api)
	if err != nil {
		return v.explain(err)
	}
	var bytes int64
	count := 0
	for _, one := range all {
		if one.Action != pruneDelete {
			continue
		}
		if v.Yes {
			path := layersPath + "/" + url.PathEscape(one.layer) + "/versions/" + strconv.FormatInt(one.Version, 10)
			if err := api.do(ctx, http.MethodDelete, path, nil, nil); err != nil {
				return v.explain(fmt.Errorf("delete %s: %w", one.LayerVersionArn, err))
			}
		}
		count++
		bytes += one.CodeSize
	}
	out := struct {
		DryRun   bool
		Deleted  int // or, in a dry run, to be deleted
		CodeSize int64
		Versions []prunedVersion
	}{!v.Yes, count, bytes, orEmpty(all)}
	err = v.answer(s.out, out, func(w io.Writer) error {
		table := columns(w)
		fmt.Fprintln(table, "ACTION\tVERSION\tSIZE\tCREATED\tWHY")
		for _, one := range all {
			size := "-"
			if one.Action == pruneDelete {
				size = bytesText(one.CodeSize)
			}
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", one.Action, one.LayerVersionArn, size, one.CreatedDate, one.Why)
		}
		return table.Flush()
	})
	if err != nil {
		return err
	}
	switch {
	case v.Yes:
		fmt.Fprintf(s.notes, "%d deleted, %s\n", count, bytesText(bytes))
	case count > 0:
		fmt.Fprintf(s.notes, "%d would be deleted, %s; nothing was\nhint: give --yes to delete them\n", count, bytesText(bytes))
	default:
		fmt.Fprintln(s.notes, "there is nothing to delete")
	}
	return nil
}

// maxPages bounds how many pages of a list are read: with 50 entries each these
// are 500,000.
const maxPages = 10_000

// pages reads a list page by page.
func pages[T any](ctx context.Context, api *apiClient, path string, query url.Values, each func(page T) (next string)) error {
	if query == nil {
		query = url.Values{}
	}
	for range maxPages {
		var page T
		if err := api.do(ctx, http.MethodGet, path+"?"+query.Encode(), nil, &page); err != nil {
			return err
		}
		next := each(page)
		if next == "" {
			return nil
		}
		query.Set("Marker", next)
	}
	return errors.New("the list does not end")
}

// plan tells what becomes of every version.
func (v *pruneLayersVerb) plan(ctx context.Context, api *apiClient) ([]prunedVersion, error) {
	layers := v.Layer
	if len(layers) == 0 {
		type page struct {
			Layers     []struct{ LayerName string }
			NextMarker string
		}
		err := pages(ctx, api, layersPath, nil, func(p page) string {
			for _, l := range p.Layers {
				layers = append(layers, l.LayerName)
			}
			return p.NextMarker
		})
		if err != nil {
			return nil, fmt.Errorf("list layers: %w", err)
		}
	}
	var all []prunedVersion
	for _, layer := range layers {
		type page struct {
			LayerVersions []prunedVersion
			NextMarker    string
		}
		position := 0
		err := pages(ctx, api, layersPath+"/"+url.PathEscape(layer)+"/versions", nil, func(p page) string {
			for _, one := range p.LayerVersions { // the newest first
				one.layer, one.Action = layer, pruneDelete
				if position++; position <= v.Keep {
					one.Action, one.Why = pruneKeep, "newest"
					if v.Keep > 1 {
						one.Why = fmt.Sprintf("of the newest %d", v.Keep)
					}
				}
				all = append(all, one)
			}
			return p.NextMarker
		})
		if err != nil {
			return nil, fmt.Errorf("list the versions of layer %s: %w", layer, err)
		}
		if position == 0 && len(v.Layer) > 0 {
			return nil, hint(fmt.Errorf("layer %s has no versions", layer), "is it in this region? give another with --region")
		}
	}
	// After the versions, so that a function made meanwhile is seen.
	users, err := layerUsers(ctx, api)
	if err != nil {
		return nil, err
	}
	for i := range all {
		one := &all[i]
		if used := users[one.LayerVersionArn]; len(used) > 0 {
			one.Action, one.Why = pruneKeep, "used by "+used[0]
			if len(used) > 1 {
				one.Why += fmt.Sprintf(" and %d more", len(used)-1)
			}
		}
		path := layersPath + "/" + url.PathEscape(one.layer) + "/versions/" + strconv.FormatInt(one.Version, 10)
		if one.Action == pruneDelete && !v.Shared {
			err := api.do(ctx, http.MethodGet, path+"/policy", nil, nil)
			if err == nil {
				one.Action, one.Why = pruneKeep, "shared"
			} else if !isStatus(err, http.StatusNotFound) {
				return nil, fmt.Errorf("look who may use %s: %w", one.LayerVersionArn, err)
			}
		}
		if one.Action != pruneDelete {
			continue
		}
		one.Why = "nothing uses it"
		if one.CodeSize, err = layerSize(ctx, api, path); err != nil {
			return nil, fmt.Errorf("look at %s: %w", one.LayerVersionArn, err)
		}
	}
	return all, nil
}

func layerSize(ctx context.Context, api *apiClient, path string) (int64, error) {
	var answer layerAnswer
	err := api.do(ctx, http.MethodGet, path, nil, &answer)
	if isStatus(err, http.StatusNotFound) {
		return 0, nil // somebody else deleted it
	}
	return answer.Content.CodeSize, err
}

// layerUsers returns, by layer version, the function versions that have it: NAME
// for $LATEST, else NAME:NUMBER.
func layerUsers(ctx context.Context, api *apiClient) (map[string][]string, error) {
	type page struct {
		Functions []struct {
			FunctionName, Version string
			Layers                []struct{ Arn string }
		}
		NextMarker string
	}
	users := map[string][]string{}
	err := pages(ctx, api, functionsPath+"/", url.Values{"FunctionVersion": {"ALL"}}, func(p page) string {
		for _, f := range p.Functions {
			name := f.FunctionName
			if f.Version != lamina.Latest {
				name += ":" + f.Version
			}
			for _, l := range f.Layers {
				users[l.Arn] = append(users[l.Arn], name)
			}
		}
		return p.NextMarker
	})
	if err != nil {
		return nil, fmt.Errorf("list functions: %w", err)
	}
	return users, nil
}
