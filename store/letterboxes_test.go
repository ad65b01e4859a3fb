package store

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lamina-run/lamina"
)

func TestLetterboxes(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		box := Letterbox{Name: "secret", Kind: "response", Expires: time.UnixMilli(5000).UTC()}
		update(t, s, func(tx *Tx) error {
			again := box
			again.Expires = time.UnixMilli(9000)
			if _, err := tx.OpenLetterbox(t.Context(), box); err != nil {
				return err
			}
			got, err := tx.OpenLetterbox(t.Context(), again)
			if got != box {
				t.Errorf("opened again: %+v; want %+v", got, box)
			}
			for _, l := range []Letter{{"a", "1"}, {"a", "2"}, {"b", "3"}} {
				err = errors.Join(err, tx.PutLetter(t.Context(), box.Name, l, 2))
			}
			if full := tx.PutLetter(t.Context(), box.Name, Letter{"c", "4"}, 2); !errors.Is(full, lamina.ErrExists) {
				t.Errorf("a letter into a full box: %v; want ErrExists", full)
			}
			return err
		})
		view(t, s, func(tx *Tx) error {
			all, err := tx.Letters(t.Context(), box.Name)
			if d := cmp.Diff([]Letter{{"a", "2"}, {"b", "3"}}, all); d != "" {
				t.Errorf("Letters (-want +got)\n%s", d)
			}
			raw, err2 := tx.texts(t.Context(), "SELECT body FROM letter")
			for _, body := range raw {
				if !strings.HasPrefix(body, sealedPrefix) {
					t.Errorf("a letter is in the database as %q", body)
				}
			}
			return errors.Join(err, err2)
		})
		if err := s.Update(t.Context(), func(tx *Tx) error { return tx.PutLetter(t.Context(), "other", Letter{"a", "1"}, 2) }); !errors.Is(err, lamina.ErrNotFound) {
			t.Errorf("a letter into no box: %v; want ErrNotFound", err)
		}
		update(t, s, func(tx *Tx) error { return tx.DeleteLetterboxes(t.Context(), time.UnixMilli(5001)) })
		view(t, s, func(tx *Tx) error {
			if _, err := tx.Letterbox(t.Context(), box.Name); !errors.Is(err, lamina.ErrNotFound) {
				t.Errorf("an expired box: %v; want ErrNotFound", err)
			}
			all, err := tx.Letters(t.Context(), box.Name)
			if len(all) != 0 {
				t.Errorf("its letters: %v", all)
			}
			return err
		})
	})
}
