/* detour: sends a program's TCP connections through a proxy of the tests, wherever they go (LD_PRELOAD).
 *
 * A Kafka client connects to the addresses that the brokers advertise, so a proxy sees its traffic only if they
 * advertise the proxy. This lets a proxy stand before a cluster that knows nothing of it: connect() goes to the
 * proxy's port, SIDELOG_DETOUR_PORT, from a local port chosen here; a file SIDELOG_DETOUR_DIR/LOCALPORT, made
 * before, says where to. Sockets of other kinds, and a program started without the two, are left alone.
 */
#undef _GNU_SOURCE /* with it glibc declares connect() with a union, which no definition in ISO C fits */
#define _DEFAULT_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef RTLD_NEXT
#define RTLD_NEXT ((void *)-1L)
#endif

typedef int connect_fn(int, const struct sockaddr *, socklen_t);

/* What the caller asked for, as "ADDRESS PORT\n". False for what is not IP. */
static int destination(const struct sockaddr *to, char *out, size_t size)
{
	char host[INET6_ADDRSTRLEN];
	if (to->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const void *)to;
		inet_ntop(AF_INET, &in->sin_addr, host, sizeof host);
		return snprintf(out, size, "%s %u\n", host, ntohs(in->sin_port)) > 0;
	}
	if (to->sa_family == AF_INET6) {
		const struct sockaddr_in6 *in = (const void *)to;
		inet_ntop(AF_INET6, &in->sin6_addr, host, sizeof host);
		return snprintf(out, size, "%s %u\n", host, ntohs(in->sin6_port)) > 0;
	}
	return 0;
}

/* The loopback address in the socket's family. */
static socklen_t loopback(int family, unsigned port, struct sockaddr_storage *out)
{
	memset(out, 0, sizeof *out);
	if (family == AF_INET) {
		struct sockaddr_in *in = (void *)out;
		in->sin_family = AF_INET;
		in->sin_port = htons((uint16_t)port);
		in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		return sizeof *in;
	}
	struct sockaddr_in6 *in = (void *)out;
	in->sin6_family = AF_INET6;
	in->sin6_port = htons((uint16_t)port);
	inet_pton(AF_INET6, "::ffff:127.0.0.1", &in->sin6_addr);
	return sizeof *in;
}

/* Binds fd to a local port and writes down where its connection should go. */
static int announce(int fd, int family, const char *dir, const char *where)
{
	struct sockaddr_storage local;
	socklen_t size = loopback(family, 0, &local);
	if (bind(fd, (struct sockaddr *)&local, size) != 0)
		return -1;
	size = sizeof local;
	if (getsockname(fd, (struct sockaddr *)&local, &size) != 0)
		return -1;
	const struct sockaddr_in *in = (const void *)&local; /* the port lies at the same place in both */
	char path[512];
	snprintf(path, sizeof path, "%s/%u", dir, ntohs(in->sin_port));
	FILE *file = fopen(path, "w");
	if (!file)
		return -1;
	int failed = fputs(where, file) < 0;
	return fclose(file) != 0 || failed ? -1 : 0;
}

int connect(int fd, const struct sockaddr *to, socklen_t size)
{
	static connect_fn *next;
	if (!next) {
		void *found = dlsym(RTLD_NEXT, "connect");
		memcpy(&next, &found, sizeof next);
	}
	const char *port = getenv("SIDELOG_DETOUR_PORT"), *dir = getenv("SIDELOG_DETOUR_DIR");
	char where[INET6_ADDRSTRLEN + 16];
	int kind = 0;
	socklen_t kind_size = sizeof kind;
	if (!port || !dir || getsockopt(fd, SOL_SOCKET, SO_TYPE, &kind, &kind_size) != 0 || kind != SOCK_STREAM ||
	    !destination(to, where, sizeof where))
		return next(fd, to, size);
	if (announce(fd, to->sa_family, dir, where) != 0) {
		errno = ECONNREFUSED;
		return -1;
	}
	struct sockaddr_storage proxy;
	socklen_t proxy_size = loopback(to->sa_family, (unsigned)strtoul(port, NULL, 10), &proxy);
	return next(fd, (struct sockaddr *)&proxy, proxy_size);
}
