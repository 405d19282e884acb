/*
 * A receiver on libsrt that does as little as an application can: one listener, one epoll, one
 * thread of its own; every payload is read and counted, nothing else. Transport only.
 *
 *   cc -O2 -o libsrt_receiver libsrt_receiver.c -lsrt
 *   libsrt_receiver ADDRESS PORT [LATENCY_MS]
 *
 * Ends on SIGTERM or SIGINT and prints one line of JSON on standard output.
 */
#include <arpa/inet.h>
#include <inttypes.h>
#include <signal.h>
#include <srt/srt.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EVENTS_MAX = 256, PAYLOAD_MAX = 1500, CONNECTIONS_MAX = 4096 };

static volatile sig_atomic_t stop_asked;

struct totals {
    uint64_t packets, bytes, connections;
    uint64_t lost, dropped, undecrypted, retransmitted, belated;
};

static void on_signal(int signal)
{
    (void)signal;
    stop_asked = 1;
}

static void fail(const char *what)
{
    fprintf(stderr, "libsrt_receiver: %s: %s\n", what, srt_getlasterror_str());
    exit(1);
}

static void set_int(SRTSOCKET socket, SRT_SOCKOPT option, int value, const char *name)
{
    if (srt_setsockflag(socket, option, &value, sizeof value) == SRT_ERROR)
        fail(name);
}

static SRTSOCKET open_listener(const char *address, int port, int latency_ms)
{
    struct sockaddr_in local = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (inet_pton(AF_INET, address, &local.sin_addr) != 1) {
        fprintf(stderr, "libsrt_receiver: not an IPv4 address: %s\n", address);
        exit(2);
    }
    SRTSOCKET listener = srt_create_socket();
    if (listener == SRT_INVALID_SOCK)
        fail("srt_create_socket");
    set_int(listener, SRTO_RCVSYN, 0, "SRTO_RCVSYN");
    set_int(listener, SRTO_LATENCY, latency_ms, "SRTO_LATENCY");
    /* As much as the other receivers get: a window that never limits, and the kernel's maximum. */
    set_int(listener, SRTO_FC, 32768, "SRTO_FC");
    set_int(listener, SRTO_RCVBUF, 32768 * 1456, "SRTO_RCVBUF");
    set_int(listener, SRTO_UDP_RCVBUF, 64000000, "SRTO_UDP_RCVBUF");
    if (srt_bind(listener, (struct sockaddr *)&local, sizeof local) == SRT_ERROR)
        fail("srt_bind");
    if (srt_listen(listener, 1024) == SRT_ERROR)
        fail("srt_listen");
    return listener;
}

static void watch(int epoll, SRTSOCKET socket)
{
    int events = SRT_EPOLL_IN | SRT_EPOLL_ERR;
    if (srt_epoll_add_usock(epoll, socket, &events) == SRT_ERROR)
        fail("srt_epoll_add_usock");
}

static void accept_all(int epoll, SRTSOCKET listener, struct totals *totals, SRTSOCKET *open)
{
    for (;;) {
        SRTSOCKET connection = srt_accept(listener, NULL, NULL);
        if (connection == SRT_INVALID_SOCK)
            return;
        set_int(connection, SRTO_RCVSYN, 0, "SRTO_RCVSYN");
        watch(epoll, connection);
        if (totals->connections < CONNECTIONS_MAX)
            open[totals->connections] = connection;
        totals->connections++;
    }
}

static void add_stats(SRTSOCKET connection, struct totals *totals)
{
    SRT_TRACEBSTATS stats;
    if (srt_bstats(connection, &stats, 0) == SRT_ERROR)
        return;
    totals->lost += (uint64_t)stats.pktRcvLossTotal;
    totals->dropped += (uint64_t)stats.pktRcvDropTotal;
    totals->undecrypted += (uint64_t)stats.pktRcvUndecryptTotal;
    totals->retransmitted += (uint64_t)stats.pktRcvRetrans;
    totals->belated += (uint64_t)stats.pktRcvBelated;
}

/* Reads until nothing is left; returns 0 when the connection is over. */
static int read_all(SRTSOCKET connection, struct totals *totals)
{
    char payload[PAYLOAD_MAX];
    for (;;) {
        int length = srt_recvmsg(connection, payload, sizeof payload);
        if (length > 0) {
            totals->packets++;
            totals->bytes += (uint64_t)length;
        } else {
            return length == SRT_ERROR && srt_getlasterror(NULL) == SRT_EASYNCRCV;
        }
    }
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: libsrt_receiver ADDRESS PORT [LATENCY_MS]\n");
        return 2;
    }
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    srt_startup();
    srt_setloglevel(0);

    static SRTSOCKET open[CONNECTIONS_MAX];
    struct totals totals = {0};
    SRTSOCKET listener = open_listener(argv[1], atoi(argv[2]), argc > 3 ? atoi(argv[3]) : 120);
    int epoll = srt_epoll_create();
    watch(epoll, listener);
    SRT_EPOLL_EVENT events[EVENTS_MAX];
    while (!stop_asked) {
        int count = srt_epoll_uwait(epoll, events, EVENTS_MAX, 100);
        for (int i = 0; i < count; i++) {
            SRTSOCKET socket = events[i].fd;
            if (socket == listener) {
                accept_all(epoll, listener, &totals, open);
            } else if (!read_all(socket, &totals)) {
                add_stats(socket, &totals);
                for (uint64_t k = 0; k < totals.connections && k < CONNECTIONS_MAX; k++)
                    if (open[k] == socket)
                        open[k] = SRT_INVALID_SOCK;
                srt_epoll_remove_usock(epoll, socket);
                srt_close(socket);
            }
        }
    }
    for (uint64_t k = 0; k < totals.connections && k < CONNECTIONS_MAX; k++)
        if (open[k] != SRT_INVALID_SOCK)
            add_stats(open[k], &totals);
    printf("{\"packets\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"connections\":%" PRIu64
           ",\"lost\":%" PRIu64 ",\"dropped\":%" PRIu64 ",\"retransmitted\":%" PRIu64
           ",\"belated\":%" PRIu64 "}\n",
           totals.packets, totals.bytes, totals.connections, totals.lost, totals.dropped,
           totals.retransmitted, totals.belated);
    fflush(stdout);
    _Exit(0); /* srt_cleanup waits for lingering sockets */
}
