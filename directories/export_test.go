package directories

// Unwatched has every Stamp of a directory look at the files, as on a file system
// that reports no changes.
func (a *Allowed) Unwatched(dir string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.watched[dir] = nil
}
