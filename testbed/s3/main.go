// A real S3 server for tests: versitygw with the flags that the tests need.
package main

import (
	"context"
	"flag"
	"log"
	"os"
	"os/signal"
	"syscall"

	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"
)

func main() {
	// absolute folders: the server changes its working folder
	listen := flag.String("listen", "127.0.0.1:7071", "address")
	root := flag.String("root", "", "data folder")
	side := flag.String("sidecar", "", "metadata folder, used where the data folder has no user xattrs")
	vers := flag.String("versions", "", "folder of object versions; empty: no versioning")
	iam := flag.String("iam", "", "folder of accounts; empty: an unknown key answers 404")
	cors := flag.String("cors", "", "default Access-Control-Allow-Origin")
	domain := flag.String("domain", "", "also serve BUCKET.domain")
	cert := flag.String("cert", "", "TLS certificate file")
	key := flag.String("key", "", "TLS key file")
	flag.Parse()

	var attributes meta.MetadataStorer = meta.XattrMeta{}
	sidecar := ""
	if err := (meta.XattrMeta{}).Test(*root); err != nil {
		if *side == "" {
			log.Fatal(err)
		}
		store, err := meta.NewSideCar(*side)
		if err != nil {
			log.Fatal(err)
		}
		attributes, sidecar = store, *side
	}
	backend, err := posix.New(*root, attributes, posix.PosixOpts{
		SideCarDir: sidecar, VersioningDir: *vers, CopyObjectThreshold: 5 << 30,
	})
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err = embedgw.RunVersityGW(ctx, backend, &embedgw.Config{
		RootUserAccess: os.Getenv("ROOT_ACCESS_KEY"), RootUserSecret: os.Getenv("ROOT_SECRET_KEY"),
		Ports: []string{*listen}, MaxConnections: 10000, MaxRequests: 5000, MultipartMaxParts: 10000,
		KeepAlive: true, Quiet: true, HealthPath: "/healthz", CORSAllowOrigin: *cors,
		VirtualDomain: *domain, CertFile: *cert, KeyFile: *key,
		IAMDir: *iam, IAMCacheTTL: 120, IAMCachePrune: 3600, // 0 spins a core
	})
	if err != nil {
		log.Fatal(err)
	}
}
