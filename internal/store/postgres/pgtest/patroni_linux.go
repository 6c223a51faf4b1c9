package pgtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"text/template"
	"time"
)

// Cluster is of PostgreSQL servers of one test, of which Patroni makes one the
// leader and has it replicate synchronously, and of the etcd that Patroni keeps
// its word in. It ends with the test, or with the test binary.
type Cluster struct {
	// URL is of the database postgres, on whichever server takes writes.
	URL string

	dir     string
	as      *syscall.SysProcAttr
	client  *http.Client
	members []member
	etcd    []string // the command
}

// member is a server, with the Patroni that looks after it.
type member struct {
	Name, Dir, Bin      string
	Port, Rest, Etcd    int // ports: of PostgreSQL, of Patroni, of etcd
	LogFile, ConfigFile string
}

// config is what docs/operations.md tells operators to write, and what lets
// servers share a machine.
var config = template.Must(template.New("").Parse(`scope: payoutd
name: {{.Name}}
restapi: {listen: '127.0.0.1:{{.Rest}}', connect_address: '127.0.0.1:{{.Rest}}'}
etcd3: {host: '127.0.0.1:{{.Etcd}}'}
bootstrap:
  dcs:
    ttl: 20
    loop_wait: 2
    retry_timeout: 5
    synchronous_mode: true
    synchronous_mode_strict: true
    postgresql:
      use_pg_rewind: true
      parameters: {unix_socket_directories: '', max_connections: 100}
  initdb: [{encoding: UTF8}, {locale: C}, {auth: trust}, {wal-segsize: '1'}]
  pg_hba: [host all all 127.0.0.1/32 trust, host replication all 127.0.0.1/32 trust]
postgresql:
  listen: 127.0.0.1:{{.Port}}
  connect_address: 127.0.0.1:{{.Port}}
  data_dir: {{.Dir}}/data
  bin_dir: {{.Bin}}
  pgpass: {{.Dir}}/pgpass
  authentication: {superuser: {username: postgres}, replication: {username: postgres}, rewind: {username: postgres}}
`))

// Patroni starts a cluster and waits until one member leads and all others
// follow it, one of them synchronously.
func Patroni(t testing.TB, members int) *Cluster {
	t.Helper()
	for _, program := range []string{"patroni", "etcd"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("%v; scripts/needs.sh installs it", err)
		}
	}
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	c := &Cluster{client: &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}}
	if c.as, err = unprivileged(); err != nil {
		t.Fatal(err)
	}
	if c.dir, err = os.MkdirTemp("", "payoutd-pgtest-"); err != nil {
		t.Fatal(err)
	}
	own(t, c.as, c.dir)
	c.keep(t)
	ports := make([]int, 2+2*members)
	for i := range ports {
		ports[i] = Port(t)
	}
	etcd, peers := ports[0], fmt.Sprintf("http://127.0.0.1:%d", ports[1])
	clients := fmt.Sprintf("http://127.0.0.1:%d", etcd)
	c.etcd = []string{
		"etcd", "--name", "test", "--data-dir", "data", "--log-level", "error", "--initial-cluster", "test=" + peers,
		"--listen-client-urls", clients, "--advertise-client-urls", clients, "--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers,
	}
	own(t, c.as, c.folder(t, "etcd"))
	c.StartEtcd(t)
	c.await(t, "etcd does not answer", func() bool {
		answer, err := c.client.Get(clients + "/health")
		return err == nil && answer.Body.Close() == nil && answer.StatusCode == http.StatusOK
	})
	var hosts []string
	for n := range members {
		m := member{Name: fmt.Sprint("member", n), Bin: bin, Port: ports[2+2*n], Rest: ports[3+2*n], Etcd: etcd}
		m.Dir = c.folder(t, m.Name)
		m.LogFile, m.ConfigFile = filepath.Join(m.Dir, "log"), filepath.Join(m.Dir, "patroni.yml")
		var text bytes.Buffer
		if err := config.Execute(&text, m); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(m.ConfigFile, text.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		own(t, c.as, m.Dir, m.ConfigFile)
		c.members = append(c.members, m)
		c.Start(t, n)
		if n == 0 { // the others would look for it every few seconds only
			c.AwaitLeader(t)
		}
		hosts = append(hosts, "127.0.0.1:"+strconv.Itoa(m.Port))
	}
	c.URL = "postgres://postgres@" + strings.Join(hosts, ",") + "/postgres?sslmode=disable&target_session_attrs=read-write"
	c.AwaitWhole(t)
	return c
}

func (c *Cluster) folder(t testing.TB, name string) string {
	t.Helper()
	path := filepath.Join(c.dir, name)
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// lost kills what works in the folders of the pattern $0, as the end of a machine
// does. Patroni's servers are nobody's children, but each process of the cluster
// works in a folder of its own.
const lost = `for again in 1 2 3; do for p in /proc/[0-9]*; do
	case "$(readlink "$p/cwd" 2>/dev/null)/" in $0) kill -9 "${p#/proc/}" 2>/dev/null ;; esac
done; done; true`

// keep sees to it that nothing of the cluster outlives the test binary.
func (c *Cluster) keep(t testing.TB) {
	t.Helper()
	keeper := exec.Command("/bin/sh", "-c", "read -r _\n"+lost+"\nrm -rf \"$1\"", c.dir+"/*", c.dir)
	keeper.Dir, keeper.SysProcAttr = "/", c.as
	pipe, err := keeper.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := keeper.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			c.tell(t)
		}
		_ = pipe.Close()
		_ = keeper.Wait()
		if err := os.RemoveAll(c.dir); err != nil { // what only root may
			t.Error(err)
		}
	})
}

// tell logs what Patroni has said last, for a test that failed.
func (c *Cluster) tell(t testing.TB) {
	for _, m := range c.members {
		b, _ := os.ReadFile(m.LogFile)
		lines := strings.SplitAfter(string(b), "\n")
		t.Logf("%s said:\n%s", m.Name, strings.Join(lines[max(0, len(lines)-60):], ""))
	}
}

// launch starts a program that works in a folder and writes its log there.
func (c *Cluster) launch(t testing.TB, dir string, command ...string) {
	t.Helper()
	log, err := os.OpenFile(filepath.Join(dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir, cmd.SysProcAttr, cmd.Stdout, cmd.Stderr = dir, c.as, log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = cmd.Wait() }() // it is killed
}

// lose kills what works in the folders of a pattern.
func (c *Cluster) lose(t testing.TB, folders string) {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", lost, folders)
	cmd.Dir, cmd.SysProcAttr = "/", c.as
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("kill what is in %s: %v\n%s", folders, err, out)
	}
}

// StartEtcd starts the etcd that was killed.
func (c *Cluster) StartEtcd(t testing.TB) {
	t.Helper()
	c.launch(t, filepath.Join(c.dir, "etcd"), c.etcd...)
}

// KillEtcd kills the etcd. Then Patroni lets no member lead.
func (c *Cluster) KillEtcd(t testing.TB) {
	t.Helper()
	c.lose(t, filepath.Join(c.dir, "etcd", "*"))
}

// Start starts Patroni for a member whose one was killed; the member joins again
// by itself.
func (c *Cluster) Start(t testing.TB, n int) {
	t.Helper()
	c.launch(t, c.members[n].Dir, "patroni", c.members[n].ConfigFile)
}

// Kill kills a member: Patroni, and PostgreSQL with all its processes.
func (c *Cluster) Kill(t testing.TB, n int) {
	t.Helper()
	c.lose(t, filepath.Join(c.members[n].Dir, "*"))
}

// KillPatroni kills the Patroni of a member and leaves its PostgreSQL alone,
// which goes on as what it was.
func (c *Cluster) KillPatroni(t testing.TB, n int) {
	t.Helper()
	c.lose(t, c.members[n].Dir+"/")
}

// view is what Patroni says of the cluster.
type view struct {
	Members []struct {
		Name, Role, State string
		Timeline          int
	}
}

// look asks one member after the other for its view; false if none has any.
func (c *Cluster) look() (v view, ok bool) {
	for _, m := range c.members {
		answer, err := c.client.Get(fmt.Sprintf("http://127.0.0.1:%d/cluster", m.Rest))
		if err != nil {
			continue
		}
		v = view{}
		err = json.NewDecoder(answer.Body).Decode(&v)
		_ = answer.Body.Close()
		if err == nil && answer.StatusCode == http.StatusOK {
			return v, true
		}
	}
	return v, false
}

// Leader is the member that leads; -1 if there is none, or nobody knows.
func (c *Cluster) Leader() int {
	v, _ := c.look()
	for _, seen := range v.Members {
		if seen.Role == "leader" && seen.State == "running" {
			return slices.IndexFunc(c.members, func(m member) bool { return m.Name == seen.Name })
		}
	}
	return -1
}

// AwaitLeader waits for a leader that is none of those.
func (c *Cluster) AwaitLeader(t testing.TB, but ...int) int {
	t.Helper()
	leader := -1
	c.await(t, "no new leader", func() bool {
		leader = c.Leader()
		return leader >= 0 && !slices.Contains(but, leader)
	})
	return leader
}

// AwaitWhole waits until one member leads and all others follow it, one of them
// synchronously.
func (c *Cluster) AwaitWhole(t testing.TB) {
	t.Helper()
	c.await(t, "not all members follow a leader", func() bool {
		v, _ := c.look()
		roles := map[string]int{}
		timelines := map[int]bool{}
		for _, seen := range v.Members {
			if seen.State == "running" || seen.State == "streaming" {
				roles[seen.Role]++
				timelines[seen.Timeline] = true
			}
		}
		return roles["leader"] == 1 && roles["sync_standby"] == 1 && roles["leader"]+roles["sync_standby"]+roles["replica"] == len(c.members) && len(timelines) == 1
	})
}

func (c *Cluster) await(t testing.TB, what string, is func() bool) {
	t.Helper()
	for late := time.Now().Add(startMax); !is(); <-time.After(100 * time.Millisecond) {
		if time.Now().After(late) {
			v, _ := c.look()
			t.Fatalf("%s after %s: %+v", what, startMax, v)
		}
	}
}

// Switch has the leader hand over to the synchronous standby, as planned work
// does, and returns once Patroni says that it is done.
func (c *Cluster) Switch(t testing.TB) {
	t.Helper()
	leader := c.AwaitLeader(t)
	m := c.members[leader]
	body := fmt.Sprintf(`{"leader": %q}`, m.Name)
	patient := &http.Client{Timeout: startMax}
	answer, err := patient.Post(fmt.Sprintf("http://127.0.0.1:%d/switchover", m.Rest), "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	if said, err := io.ReadAll(answer.Body); err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("switchover: HTTP %d, %s %v", answer.StatusCode, said, err)
	}
}

// Rewound is how often a member was brought back by pg_rewind.
func (c *Cluster) Rewound(t testing.TB) int {
	t.Helper()
	times := 0
	for _, m := range c.members {
		b, err := os.ReadFile(m.LogFile)
		if err != nil {
			t.Fatal(err)
		}
		times += strings.Count(string(b), "running pg_rewind")
	}
	return times
}
