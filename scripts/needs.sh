#!/usr/bin/env bash
# Sees to it that what the tests need beside Go is there: a C compiler for the
# race detector, openssl as the other side of the signature tests and its library
# for the build that signs with it, a PostgreSQL server that they start and stop
# themselves, unless PAYOUTD_TEST_POSTGRES names one, Patroni with etcd for the test
# of a failover, nginx and HAProxy for the tests of a proxy in front, SoftHSM with
# OpenSC for the test of a key in a hardware module, and Chromium with Node.js for the
# tests in a browser. On a Debian machine it installs what is missing; elsewhere it
# says what is.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# What the browser tests import, as the lockfile pins it.
node_modules() {
	if ! cmp -s e2e/browser/package-lock.json e2e/browser/node_modules/.installed; then
		echo '== npm ci in e2e/browser'
		(cd e2e/browser && npm ci --fetch-retries=5 --ignore-scripts --no-audit --no-fund --loglevel=error)
		cp e2e/browser/package-lock.json e2e/browser/node_modules/.installed
	fi
}

missing=()
command -v gcc >/dev/null || missing+=(gcc libc6-dev)
command -v openssl >/dev/null || missing+=(openssl)
[ -e /usr/include/openssl/evp.h ] || missing+=(libssl-dev)
if [ -z "${PAYOUTD_TEST_POSTGRES:-}" ] && ! command -v initdb >/dev/null && ! compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; then
	missing+=(postgresql)
fi
command -v patroni >/dev/null || missing+=(patroni)
command -v etcd >/dev/null || missing+=(etcd-server)
PATH=$PATH:/usr/sbin command -v nginx >/dev/null || missing+=(nginx)
PATH=$PATH:/usr/sbin command -v haproxy >/dev/null || missing+=(haproxy)
command -v softhsm2-util >/dev/null || missing+=(softhsm2)
command -v pkcs11-tool >/dev/null || missing+=(opensc)
command -v chromium >/dev/null || missing+=(chromium)
command -v node >/dev/null || missing+=(nodejs)
command -v npm >/dev/null || missing+=(npm)
if [ ${#missing[@]} -eq 0 ]; then
	node_modules
	exit 0
fi

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
	echo "please install: ${missing[*]}" >&2
	exit 1
fi
echo "== installing ${missing[*]}"
if [[ " ${missing[*]} " == *' postgresql '* ]]; then
	# The tests need the programs, not a server that starts with the machine.
	mkdir -p /etc/postgresql-common/createcluster.d
	echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.d/payoutd.conf
fi
for service in etcd patroni nginx haproxy; do # nor these
	if [[ " ${missing[*]} " == *" $service"[-\ ]* ]]; then
		mkdir -p /etc/systemd/system
		ln -sf /dev/null "/etc/systemd/system/$service.service"
	fi
done
if [ ! -e /usr/sbin/policy-rc.d ]; then # where no systemd looks at that
	printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
	chmod +x /usr/sbin/policy-rc.d
	trap 'rm -f /usr/sbin/policy-rc.d' EXIT
fi
# The network may fail now and then, and another apt may be at work.
patient=(-qq -o Acquire::Retries=5 -o DPkg::Lock::Timeout=600)
apt-get "${patient[@]}" update
DEBIAN_FRONTEND=noninteractive apt-get "${patient[@]}" install -y --no-install-recommends "${missing[@]}" >/dev/null
node_modules
