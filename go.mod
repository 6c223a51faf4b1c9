module github.com/payoutd/payoutd

go 1.26
