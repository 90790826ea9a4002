// The ledger of an archive, as Go's own libraries for transparency logs see it.
module probity.example/ledgercheck

go 1.19

require golang.org/x/mod v0.20.0
