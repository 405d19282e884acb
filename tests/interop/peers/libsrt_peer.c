/*
 * A peer on libsrt that sends its standard input or writes what it receives to its standard output,
 * as caller or as listener, with AES-CTR or AES-GCM. srt-live-transmit loses what is in flight when
 * its input ends and has no GCM; this one waits until everything is acknowledged.
 *
 *   cc -O2 -rdynamic -o libsrt_peer libsrt_peer.c -lsrt -lcrypto
 *   libsrt_peer send|receive caller|listener ADDRESS PORT [NAME=VALUE]...
 *
 * Names: latency, pbkeylen, gcm (0 or 1), km_refresh, km_preannounce, passphrase, streamid, payload,
 * connect_timeout.
 * Ends with 0 when the connection was made and has ended well, with 3 when it was refused; the
 * reason is then the last line on standard error.
 *
 * Debian's libsrt 1.5.4 and newer carry the whole of libsrt's AES-GCM but for two things that only
 * a build with ENABLE_AEAD_API_PREVIEW has: the cipher itself, and the option that asks for it.
 * Both are put in from here: a symbol of the program goes before that of a shared library. The
 * cipher is OpenSSL's; key messages, nonce and associated data are libsrt's own.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <openssl/aes.h>
#include <openssl/modes.h>
#include <srt/srt.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PAYLOAD_MAX = 1456, TAG_BYTES = 16, NONCE_BYTES = 12, METHODS = 24, MODE_ECB = 1 };

static bool want_gcm, has_gcm;

/* ---- What ENABLE_AEAD_API_PREVIEW adds. -------------------------------------------------------- */

typedef int set_key_fn(int mode, bool encrypt, const unsigned char *key, size_t bytes, AES_KEY *out);

static set_key_fn *original_set_key;

/* GCM only runs the block cipher forwards; only the unwrapping of keys (ECB) runs it backwards. */
static int set_key(int mode, bool encrypt, const unsigned char *key, size_t bytes, AES_KEY *out)
{
    return original_set_key(mode, encrypt || mode != MODE_ECB, key, bytes, out);
}

static int gcm(bool encrypt, AES_KEY *key, unsigned char *nonce, const unsigned char *associated,
               size_t associated_bytes, const unsigned char *in, size_t bytes, unsigned char *out,
               unsigned char *tag)
{
    GCM128_CONTEXT *context = CRYPTO_gcm128_new(key, (block128_f)AES_encrypt);
    if (!context)
        return -1;
    CRYPTO_gcm128_setiv(context, nonce, NONCE_BYTES);
    int failed = CRYPTO_gcm128_aad(context, associated, associated_bytes);
    if (!failed && encrypt)
        failed = CRYPTO_gcm128_encrypt(context, in, out, bytes);
    else if (!failed)
        failed = CRYPTO_gcm128_decrypt(context, in, out, bytes);
    if (!failed && encrypt)
        CRYPTO_gcm128_tag(context, tag, TAG_BYTES);
    else if (!failed)
        failed = CRYPTO_gcm128_finish(context, tag, TAG_BYTES);
    CRYPTO_gcm128_release(context);
    return failed ? -1 : 0;
}

int HaiCrypt_IsAESGCM_Supported(void)
{
    return 1;
}

/* libsrt's table of ciphers, with ours in the places of its stubs. */
void *crysprOpenSSL(void)
{
    static void **table;
    if (table)
        return table;
    void *(*original)(void) = (void *(*)(void))dlsym(RTLD_NEXT, "crysprOpenSSL");
    void *stub = dlsym(RTLD_NEXT, "crysprStub_AES_GCMCipher");
    original_set_key = (set_key_fn *)dlsym(RTLD_NEXT, "crysprOpenSSL_AES_SetKey");
    table = original();
    int placed = 0;
    for (int i = 0; stub && original_set_key && i < METHODS && placed < 2; i++) {
        if (table[i] == stub)
            table[i] = (void *)gcm, placed++;
        else if (table[i] == (void *)original_set_key)
            table[i] = (void *)set_key, placed++;
    }
    has_gcm = placed == 2;
    return table;
}

/* srt::CCryptoControl::init(side, const CSrtConfig &, bool, bool): the option SRTO_CRYPTOMODE sets
 * an int of the configuration; builds without the option have it too, at CTR. */
#define INIT "_ZN3srt14CCryptoControl4initENS_13HandshakeSideERKNS_10CSrtConfigEbb"
bool crypto_init(void *self, int side, void *config, bool bidirectional, bool old_gcm) __asm__(INIT);

bool crypto_init(void *self, int side, void *config, bool bidirectional, bool old_gcm)
{
    enum { CRYPTO_MODE = 0x114, CTR = 1, GCM = 2 };
    bool (*original)(void *, int, void *, bool, bool) =
        (bool (*)(void *, int, void *, bool, bool))dlsym(RTLD_NEXT, INIT);
    int *mode = (int *)((char *)config + CRYPTO_MODE);
    if (want_gcm && *mode == CTR)
        *mode = GCM;
    return original(self, side, config, bidirectional, old_gcm);
}

/* A key message that names GCM (cipher 4, authentication 1) is refused by this build: it is shown
 * one of CTR and a session of CTR. How the keys are wrapped is the same. */
int hcryptCtx_Rx_ParseKM(void *session, unsigned char *message, size_t bytes)
{
    enum { CIPHER = 8, AUTHENTICATION = 9, CTR = 2, GCM = 4, MESSAGE_MAX = 256 };
    /* A session begins with the contexts of the even and the odd key; each has its mode. */
    enum { CONTEXT_BYTES = 0x158, MODE = 0x10 };
    int (*original)(void *, unsigned char *, size_t) =
        (int (*)(void *, unsigned char *, size_t))dlsym(RTLD_NEXT, "hcryptCtx_Rx_ParseKM");
    int *even = (int *)((char *)session + MODE);
    int *odd = (int *)((char *)session + CONTEXT_BYTES + MODE);
    unsigned char copy[MESSAGE_MAX];
    if (bytes <= AUTHENTICATION || bytes > MESSAGE_MAX || message[CIPHER] != GCM ||
        message[AUTHENTICATION] != 1 || *even != GCM || *odd != GCM)
        return original(session, message, bytes);
    memcpy(copy, message, bytes);
    copy[CIPHER] = CTR;
    copy[AUTHENTICATION] = 0;
    *even = *odd = CTR;
    int result = original(session, copy, bytes);
    *even = *odd = GCM;
    return result;
}

/* ---- The peer. -------------------------------------------------------------------------------- */

static int payload_bytes = 1316;

static void fail(const char *what)
{
    fprintf(stderr, "libsrt_peer: %s: %s\n", what, srt_getlasterror_str());
    exit(1);
}

static void set(SRTSOCKET socket, SRT_SOCKOPT option, const void *value, int bytes, const char *name)
{
    if (srt_setsockflag(socket, option, value, bytes) == SRT_ERROR)
        fail(name);
}

static void set_named(SRTSOCKET socket, const char *argument)
{
    static const struct {
        const char *name;
        SRT_SOCKOPT option;
        bool text;
    } options[] = {
        {"latency", SRTO_LATENCY, false},
        {"pbkeylen", SRTO_PBKEYLEN, false},
        {"km_refresh", SRTO_KMREFRESHRATE, false},
        {"km_preannounce", SRTO_KMPREANNOUNCE, false},
        {"connect_timeout", SRTO_CONNTIMEO, false},
        {"passphrase", SRTO_PASSPHRASE, true},
        {"streamid", SRTO_STREAMID, true},
    };
    const char *equals = strchr(argument, '=');
    size_t length = equals ? (size_t)(equals - argument) : 0;
    const char *value = equals ? equals + 1 : "";
    int number = atoi(value);
    if (length == 3 && !strncmp(argument, "gcm", 3)) {
        want_gcm = number != 0;
        if (want_gcm && !has_gcm) {
            fprintf(stderr, "libsrt_peer: AES-GCM wants libsrt 1.5.4 or newer\n");
            exit(2);
        }
        return;
    }
    if (length == 7 && !strncmp(argument, "payload", 7) && number > 0 && number <= PAYLOAD_MAX) {
        payload_bytes = number;
        set(socket, SRTO_PAYLOADSIZE, &number, sizeof number, argument);
        return;
    }
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        if (strlen(options[i].name) != length || strncmp(argument, options[i].name, length))
            continue;
        if (options[i].text)
            set(socket, options[i].option, value, (int)strlen(value), argument);
        else
            set(socket, options[i].option, &number, sizeof number, argument);
        return;
    }
    fprintf(stderr, "libsrt_peer: unknown option: %s\n", argument);
    exit(2);
}

static SRTSOCKET call(SRTSOCKET socket, const struct sockaddr *address, int bytes)
{
    if (srt_connect(socket, address, bytes) == SRT_ERROR) {
        int reason = srt_getrejectreason(socket);
        fprintf(stderr, "refused: %d: %s\n", reason, srt_getlasterror_str());
        exit(3);
    }
    return socket;
}

static SRTSOCKET serve(SRTSOCKET socket, const struct sockaddr *address, int bytes)
{
    if (srt_bind(socket, address, bytes) == SRT_ERROR)
        fail("srt_bind");
    if (srt_listen(socket, 8) == SRT_ERROR)
        fail("srt_listen");
    fprintf(stderr, "listening\n");
    SRTSOCKET connection = srt_accept(socket, NULL, NULL);
    if (connection == SRT_INVALID_SOCK)
        fail("srt_accept");
    return connection;
}

/* A whole payload, or what is left before the end of the input. */
static size_t read_payload(char *payload)
{
    size_t have = 0;
    while (have < (size_t)payload_bytes) {
        ssize_t got = read(STDIN_FILENO, payload + have, (size_t)payload_bytes - have);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        have += (size_t)got;
    }
    return have;
}

/* Waits until everything is acknowledged, and then until it is due: at a goodbye libsrt's receiver
 * throws away what it has not delivered. */
static void wait_until_delivered(SRTSOCKET connection)
{
    int waiting = 1, latency_ms = 0, bytes = sizeof waiting;
    for (int tries = 0; tries < 1000 && waiting; tries++) {
        if (srt_getsockflag(connection, SRTO_SNDDATA, &waiting, &bytes) == SRT_ERROR)
            return;
        usleep(10000);
    }
    srt_getsockflag(connection, SRTO_PEERLATENCY, &latency_ms, &bytes);
    usleep((useconds_t)(latency_ms + 200) * 1000);
}

static void send_all(SRTSOCKET connection)
{
    char payload[PAYLOAD_MAX];
    size_t bytes;
    while ((bytes = read_payload(payload)) > 0)
        if (srt_sendmsg2(connection, payload, (int)bytes, NULL) == SRT_ERROR)
            fail("srt_sendmsg2");
    wait_until_delivered(connection);
}

static void receive_all(SRTSOCKET connection)
{
    char payload[PAYLOAD_MAX + TAG_BYTES];
    int bytes;
    while ((bytes = srt_recvmsg2(connection, payload, sizeof payload, NULL)) > 0) {
        if (fwrite(payload, 1, (size_t)bytes, stdout) != (size_t)bytes)
            fail("fwrite");
        fflush(stdout);
    }
}

static void report(SRTSOCKET connection)
{
    SRT_TRACEBSTATS stats;
    int state = -1, bytes = sizeof state;
    srt_getsockflag(connection, SRTO_KMSTATE, &state, &bytes);
    if (srt_bstats(connection, &stats, 0) == SRT_ERROR)
        memset(&stats, 0, sizeof stats);
    fprintf(stderr,
            "km_state %d sent %lld retransmitted %d sender_dropped %d received %lld undecryptable %d "
            "receiver_dropped %d\n",
            state, (long long)stats.pktSentTotal, stats.pktRetransTotal, stats.pktSndDropTotal,
            (long long)stats.pktRecvTotal, stats.pktRcvUndecryptTotal, stats.pktRcvDropTotal);
}

int main(int argc, char **argv)
{
    if (argc < 5) {
        fprintf(stderr, "usage: libsrt_peer send|receive caller|listener ADDRESS PORT [NAME=VALUE]...\n");
        return 2;
    }
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[4]))};
    if (inet_pton(AF_INET, argv[3], &address.sin_addr) != 1) {
        fprintf(stderr, "libsrt_peer: not an IPv4 address: %s\n", argv[3]);
        return 2;
    }
    bool sends = !strcmp(argv[1], "send");
    srt_startup();
    SRTSOCKET socket = srt_create_socket();
    if (socket == SRT_INVALID_SOCK)
        fail("srt_create_socket");
    set(socket, SRTO_SENDER, &(int){sends}, sizeof(int), "SRTO_SENDER");
    for (int i = 5; i < argc; i++)
        set_named(socket, argv[i]);
    SRTSOCKET connection = (strcmp(argv[2], "caller") ? serve : call)(
        socket, (struct sockaddr *)&address, sizeof address);
    fprintf(stderr, "connected\n");
    (sends ? send_all : receive_all)(connection);
    report(connection);
    srt_close(connection);
    srt_close(socket);
    srt_cleanup();
    return 0;
}
