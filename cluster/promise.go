package cluster

// answer serves a question, but for a join, which is the placement group's business.
func (d *discovery) answer(a *ask) (reply, error) {
	d.listen([]Seen{a.From})
	if a.ClusterID == "" {
		d.listen(a.View)
	}
	var accepted bool
	if a.Offer != nil {
		var err error
		if accepted, err = d.offered(a); err != nil {
			return reply{}, err
		}
	}
	id := d.ids.identity()
	r := reply{Version: exchangeVersion, From: d.self, ClusterID: id.ClusterID, RaftID: id.RaftID, Accepted: accepted}
	if id.ClusterID == "" {
		r.View = d.view()
		for _, s := range d.fresh() {
			r.Elsewhere = r.Elsewhere || s.clusterID != ""
		}
	}
	if id.Pending != nil {
		r.Promised = id.Pending.ClusterID
	}
	if a.Promised != "" {
		r.Verdict = d.verdict(&id, a.Promised)
	}
	return r, nil
}

func (d *discovery) verdict(id *Identity, clusterID string) verdict {
	switch {
	case id.ClusterID == clusterID:
		return verdictGo
	case id.Pending != nil && id.Pending.ClusterID == clusterID:
		return verdictWait
	}
	return verdictNone
}

// offered decides about an offer: yes to the first, and to the same again.
func (d *discovery) offered(a *ask) (bool, error) {
	g, id := a.Offer, d.ids.identity()
	own := among(g, d.self.Incarnation)
	switch {
	case own == nil || own.Name != d.self.Name || founderOf(g).Incarnation != a.From.Incarnation:
		return false, nil
	case id.ClusterID != "":
		return id.ClusterID == g.ClusterID, nil
	case id.Pending != nil:
		return equalGenesis(id.Pending, g), nil
	case d.joining:
		return false, nil
	}
	for _, s := range d.fresh() {
		if s.clusterID != "" {
			return false, nil // there is a cluster to join
		}
	}
	d.since = d.round
	err := d.ids.promise(g)
	return err == nil, err
}
