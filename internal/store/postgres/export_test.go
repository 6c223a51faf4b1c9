package postgres

// TrustMemory lets s go by what it remembers, however often that was wrong.
func TrustMemory(s *Store) { s.recent.patience = 0 }
