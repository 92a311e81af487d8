package shard

import "errors"

// Forget drops everything this node has of group id.
func (n *Node) Forget(id uint32) error { return errors.New("shard: not built yet") }
