package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
)

// clusterTLS reads the certificate files. accept is for connections of nodes and of clients that choose TLS, dial
// for connections to other nodes; both are nil where no certificate is set. Whoever shows a certificate has to show
// a valid one; that it is a node is proved by the cluster secret, inside.
func clusterTLS(cfg *settings) (accept, dial *tls.Config, err error) {
	if cfg.tlsCert == "" {
		return nil, nil, nil
	}
	pair, err := tls.LoadX509KeyPair(cfg.tlsCert, cfg.tlsKey)
	if err != nil {
		return nil, nil, fmt.Errorf("FASTPACA_CLUSTER_TLS_CERT, FASTPACA_CLUSTER_TLS_KEY: %w", err)
	}
	var pool *x509.CertPool // nil: the system's
	if cfg.tlsCA != "" {
		pem, err := os.ReadFile(cfg.tlsCA)
		if err != nil {
			return nil, nil, fmt.Errorf("FASTPACA_CLUSTER_TLS_CA: %w", err)
		}
		pool = x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, nil, errors.New("FASTPACA_CLUSTER_TLS_CA: the file " + cfg.tlsCA + " holds no certificate in PEM")
		}
	}
	certificates := []tls.Certificate{pair}
	accept = &tls.Config{Certificates: certificates, ClientCAs: pool, ClientAuth: tls.VerifyClientCertIfGiven, MinVersion: tls.VersionTLS12}
	dial = &tls.Config{Certificates: certificates, RootCAs: pool, MinVersion: tls.VersionTLS12}
	return accept, dial, nil
}
