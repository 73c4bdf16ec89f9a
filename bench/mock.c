/*
 * mock.c is a model provider that answers at once: one thread, epoll, the OpenAI chat wire.
 *
 *   cc -O2 -o mock mock.c && ./mock PORT
 *
 * POST (any path)  a whole JSON reply, or a stream of SSE chunks when the body says "stream":true;
 *                  a usage chunk closes the stream when the body says "include_usage":true.
 * GET /__ctl?...   sets how it answers and returns the setting and what was served so far:
 *                    n         chunks of a stream, the role chunk counted, finish and usage not
 *                    delay_us  time from one chunk to the next; 0: as fast as the reader takes them
 *                    ttft_us   time from the request to the role chunk and the first token
 *                    lat_us    time from the request to a whole reply
 * GET (any other)  a list of one model.
 *
 * Every chunk is its own send(), as a provider flushes each token. The first two, role and first
 * token, leave together: a gateway may rightly hold the role chunk until content follows.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_CONNECTIONS = 4096, MAX_FD = 65536, EVENTS = 512, WORDS = 20, LATE_US = 200000 };

/* What a connection does: reads a request, lets a whole reply wait for its time, or streams. */
enum state { READING, WAITING, STREAMING };

typedef struct {
    char *data;
    size_t length;
} text;

typedef struct {
    int fd;
    enum state state;
    char *in; /* the request, as far as it has come */
    size_t in_length, in_room;
    size_t head; /* bytes of the request's head; 0 while it is incomplete */
    size_t need; /* its content-length */
    int chunked; /* its body is chunked */
    char *out;   /* what the socket would not take yet: from out_done to out_length */
    size_t out_done, out_length, out_room;
    long sent;     /* chunks of this stream */
    int usage;     /* this stream ends with a usage chunk */
    uint64_t due;  /* when the next thing leaves, in microseconds */
    int slot;      /* its place in `active`, -1 when it is in none */
} connection;

static connection *by_fd[MAX_FD];
static connection *active[MAX_CONNECTIONS]; /* those that WAIT or STREAM */
static int active_count;
static int poller;

static long chunks = 256, delay_us, ttft_us, lat_us; /* the setting */
static long served, streams;                         /* whole replies and whole streams so far */

static text whole, stream_head, models, role, tokens[WORDS], finish, usage, done, last;

static uint64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

static void *must(void *memory) {
    if (!memory) {
        perror("mock");
        exit(1);
    }
    return memory;
}

static void activate(connection *c) {
    if (active_count == MAX_CONNECTIONS) {
        fprintf(stderr, "mock: more than %d answers at once\n", MAX_CONNECTIONS);
        exit(1);
    }
    c->slot = active_count;
    active[active_count++] = c;
}

static void deactivate(connection *c) {
    if (c->slot < 0) return;
    active[c->slot] = active[--active_count];
    active[c->slot]->slot = c->slot;
    c->slot = -1;
}

static void drop(connection *c) {
    deactivate(c);
    close(c->fd);
    by_fd[c->fd] = NULL;
    free(c->in);
    free(c->out);
    free(c);
}

static void watch(connection *c, uint32_t events, int operation) {
    struct epoll_event e = {.events = events, .data.fd = c->fd};
    epoll_ctl(poller, operation, c->fd, &e);
}

/* Sends what is held back. 1: all gone; 0: the socket is full, EPOLLOUT will tell; -1: it broke. */
static int flush(connection *c) {
    while (c->out_done < c->out_length) {
        ssize_t n = send(c->fd, c->out + c->out_done, c->out_length - c->out_done, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno != EAGAIN) return -1;
            watch(c, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
            return 0;
        }
        c->out_done += (size_t)n;
    }
    c->out_done = c->out_length = 0;
    return 1;
}

/* Sends, and holds back what the socket does not take. -1: it broke. */
static int put(connection *c, text t) {
    if (c->out_done == c->out_length) {
        ssize_t n = send(c->fd, t.data, t.length, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN) return -1;
        if (n > 0) {
            t.data += n;
            t.length -= (size_t)n;
        }
        if (!t.length) return 0;
    }
    if (c->out_length + t.length > c->out_room) {
        c->out_room = (c->out_length + t.length) * 2;
        c->out = must(realloc(c->out, c->out_room));
    }
    memcpy(c->out + c->out_length, t.data, t.length);
    c->out_length += t.length;
    return flush(c) < 0 ? -1 : 0;
}

/* Reads the framing of the request whose head ends at `end` (its blank line). */
static void read_head(connection *c, char *end) {
    c->head = (size_t)(end - c->in) + 4;
    c->need = 0;
    c->chunked = 0;
    for (char *line = c->in; line < end;) {
        char *stop = memmem(line, (size_t)(end - line) + 2, "\r\n", 2);
        size_t length = (size_t)(stop - line);
        if (length > 15 && !strncasecmp(line, "content-length:", 15)) c->need = strtoul(line + 15, NULL, 10);
        if (length > 18 && !strncasecmp(line, "transfer-encoding:", 18)) c->chunked = 1;
        line = stop + 2;
    }
}

/* The bytes of the whole request, 0 while some are missing. */
static size_t request_length(connection *c) {
    if (!c->head) {
        char *end = memmem(c->in, c->in_length, "\r\n\r\n", 4);
        if (!end) return 0;
        read_head(c, end);
    }
    if (c->chunked) {
        char *end = memmem(c->in + c->head - 2, c->in_length - c->head + 2, "\r\n0\r\n\r\n", 7);
        return end ? (size_t)(end - c->in) + 7 : 0;
    }
    return c->in_length < c->head + c->need ? 0 : c->head + c->need;
}

static void consume(connection *c, size_t length) {
    memmove(c->in, c->in + length, c->in_length - length);
    c->in_length -= length;
    c->head = 0;
}

/* Whether the body says `name`: true, with or without spaces. */
static int says(const char *body, size_t length, const char *name) {
    size_t n = strlen(name);
    const char *end = body + length, *at = memmem(body, length, name, n);
    if (!at) return 0;
    for (at += n; at < end && (*at == ' ' || *at == ':'); at++) {}
    return at < end && *at == 't';
}

static void set(const char *line, const char *name, long *value) {
    const char *at = strstr(line, name);
    if (at && (at[-1] == '?' || at[-1] == '&')) *value = atol(at + strlen(name));
}

static int control(connection *c, size_t length) {
    char line[512], body[256], answer[512];
    size_t n = length < sizeof line ? length : sizeof line - 1;
    memcpy(line, c->in, n);
    line[n] = 0;
    line[strcspn(line, "\r\n")] = 0;
    set(line, "n=", &chunks);
    set(line, "delay_us=", &delay_us);
    set(line, "ttft_us=", &ttft_us);
    set(line, "lat_us=", &lat_us);
    int size = snprintf(body, sizeof body,
                        "{\"n\":%ld,\"delay_us\":%ld,\"ttft_us\":%ld,\"lat_us\":%ld,"
                        "\"served\":%ld,\"streams\":%ld}\n",
                        chunks, delay_us, ttft_us, lat_us, served, streams);
    size = snprintf(answer, sizeof answer,
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s",
                    size, body);
    consume(c, length);
    return put(c, (text){answer, (size_t)size});
}

static int start_stream(connection *c) {
    c->state = STREAMING;
    c->sent = 0;
    c->due = now_us() + (uint64_t)ttft_us;
    activate(c);
    return put(c, stream_head);
}

/* Answers the requests that have come whole. -1: the connection broke. */
static int answer(connection *c) {
    while (c->state == READING) {
        size_t length = request_length(c);
        if (!length) return 0;
        if (!strncmp(c->in, "GET /__ctl", 10)) {
            if (control(c, length) < 0) return -1;
            continue;
        }
        if (!strncmp(c->in, "GET ", 4)) {
            consume(c, length);
            if (put(c, models) < 0) return -1;
            continue;
        }
        const char *body = c->in + c->head;
        int stream = says(body, length - c->head, "\"stream\"");
        c->usage = says(body, length - c->head, "\"include_usage\"");
        consume(c, length);
        if (stream) {
            if (start_stream(c) < 0) return -1;
        } else if (lat_us) {
            c->state = WAITING;
            c->due = now_us() + (uint64_t)lat_us;
            activate(c);
        } else {
            served++;
            if (put(c, whole) < 0) return -1;
        }
    }
    return 0;
}

static int end_stream(connection *c) {
    if (put(c, finish) < 0) return -1;
    if (c->usage && put(c, usage) < 0) return -1;
    if (put(c, done) < 0 || put(c, last) < 0) return -1;
    streams++;
    deactivate(c);
    c->state = READING;
    return answer(c);
}

/* Sends what is due on a connection that waits or streams. -1: it broke. */
static int step(connection *c, uint64_t now) {
    if (c->out_length > c->out_done || c->due > now) return 0;
    if (c->state == WAITING) {
        deactivate(c);
        c->state = READING;
        served++;
        return put(c, whole) < 0 ? -1 : answer(c);
    }
    do {
        text chunk = c->sent ? tokens[c->sent % WORDS] : role;
        if (put(c, chunk) < 0) return -1;
        c->sent++;
    } while (c->sent == 1 && chunks > 1);
    c->due += (uint64_t)delay_us;
    if (c->due + LATE_US < now) c->due = now; /* a reader that stalled gets no volley afterwards */
    return c->sent < chunks ? 0 : end_stream(c);
}

static text keep(const char *written, int length) {
    return (text){must(memcpy(must(malloc((size_t)length)), written, (size_t)length)), (size_t)length};
}

/* An SSE frame in its own HTTP chunk. */
static text frame(const char *data) {
    char b[2048];
    return keep(b, snprintf(b, sizeof b, "%zx\r\ndata: %s\n\n\r\n", strlen(data) + 8, data));
}

static text chunk(const char *choices, const char *counted) {
    char b[1024];
    snprintf(b, sizeof b,
             "{\"id\":\"chatcmpl-B9MBs8CjcvOLX2Mvf1eKqmockmock\",\"object\":\"chat.completion.chunk\","
             "\"created\":1763990000,\"model\":\"gpt-4o-mini-2024-07-18\",\"service_tier\":\"default\","
             "\"system_fingerprint\":\"fp_mock0001\",\"choices\":[%s],\"usage\":%s}",
             choices, counted);
    return frame(b);
}

static text choice(const char *delta, const char *reason) {
    char b[512];
    snprintf(b, sizeof b, "{\"index\":0,\"delta\":{%s},\"logprobs\":null,\"finish_reason\":%s}", delta, reason);
    return chunk(b, "null");
}

static void write_answers(void) {
    static const char *const words[WORDS] = {
        " the", " gateway", " routes", " each", " request", " to",   " a",       " model",   " which", " costs",
        " less", " and",    " answers", " well", ",",        " while", " keeping", " latency", " low",   "."};
    static const char headers[] =
        "date: Tue, 24 Nov 2026 13:00:00 GMT\r\nopenai-organization: org-mock\r\n"
        "openai-processing-ms: 12\r\nopenai-version: 2020-10-01\r\n"
        "x-ratelimit-limit-requests: 10000\r\nx-ratelimit-remaining-requests: 9999\r\n"
        "x-ratelimit-limit-tokens: 2000000\r\nx-ratelimit-remaining-tokens: 1999000\r\n"
        "x-request-id: req_00000000000000000000000000000001\r\nserver: mock\r\n";
    char content[2048] = "", body[4096], b[8192];
    for (int i = 0; i < 150; i++) strcat(content, words[(i * 7) % WORDS]);
    int size = snprintf(
        body, sizeof body,
        "{\"id\":\"chatcmpl-B9MBs8CjcvOLX2Mvf1eKqmockmock\",\"object\":\"chat.completion\","
        "\"created\":1763990000,\"model\":\"gpt-4o-mini-2024-07-18\",\"choices\":[{\"index\":0,"
        "\"message\":{\"role\":\"assistant\",\"content\":\"%s\",\"refusal\":null,\"annotations\":[]},"
        "\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":219,"
        "\"completion_tokens\":200,\"total_tokens\":419,\"prompt_tokens_details\":{\"cached_tokens\":0,"
        "\"audio_tokens\":0},\"completion_tokens_details\":{\"reasoning_tokens\":0,\"audio_tokens\":0,"
        "\"accepted_prediction_tokens\":0,\"rejected_prediction_tokens\":0}},"
        "\"service_tier\":\"default\",\"system_fingerprint\":\"fp_mock0001\"}",
        content);
    whole = keep(b, snprintf(b, sizeof b,
                             "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
                             "content-length: %d\r\n%s\r\n%s",
                             size, headers, body));
    stream_head = keep(b, snprintf(b, sizeof b,
                                   "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
                                   "transfer-encoding: chunked\r\n%s\r\n",
                                   headers));
    static const char list[] = "{\"object\":\"list\",\"data\":[{\"id\":\"gpt-4o-mini\",\"object\":\"model\","
                               "\"created\":1,\"owned_by\":\"mock\"}]}";
    models = keep(b, snprintf(b, sizeof b,
                              "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
                              "content-length: %zu\r\n\r\n%s",
                              strlen(list), list));
    role = choice("\"role\":\"assistant\",\"content\":\"\",\"refusal\":null", "null");
    for (int i = 0; i < WORDS; i++) {
        char delta[64];
        snprintf(delta, sizeof delta, "\"content\":\"%s\"", words[(i * 7) % WORDS]);
        tokens[i] = choice(delta, "null");
    }
    finish = choice("", "\"stop\"");
    usage = chunk("", "{\"prompt_tokens\":219,\"completion_tokens\":256,\"total_tokens\":475}");
    done = frame("[DONE]");
    last = keep("0\r\n\r\n", 5);
}

static int listen_on(int port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&a, sizeof a) || listen(fd, 4096)) {
        perror("mock: listen");
        exit(1);
    }
    return fd;
}

static void accept_all(int listener) {
    for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
        int one = 1;
        if (fd >= MAX_FD) {
            close(fd);
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        connection *c = must(calloc(1, sizeof *c));
        c->fd = fd;
        c->slot = -1;
        c->in_room = 8192;
        c->in = must(malloc(c->in_room));
        by_fd[fd] = c;
        watch(c, EPOLLIN, EPOLL_CTL_ADD);
    }
}

/* Takes what the socket has. -1: it broke or ended. */
static int take(connection *c) {
    for (;;) {
        if (c->in_room - c->in_length < 4096) {
            c->in_room *= 2;
            c->in = must(realloc(c->in, c->in_room));
        }
        size_t room = c->in_room - c->in_length;
        ssize_t n = recv(c->fd, c->in + c->in_length, room, 0);
        if (n == 0 || (n < 0 && errno != EAGAIN)) return -1;
        if (n < 0) break;
        c->in_length += (size_t)n;
        if ((size_t)n < room) break;
    }
    return answer(c);
}

static int serve(connection *c, uint32_t events) {
    if (events & EPOLLOUT) {
        int flushed = flush(c);
        if (flushed < 0) return -1;
        if (flushed) watch(c, EPOLLIN, EPOLL_CTL_MOD);
    }
    return events & (EPOLLIN | EPOLLHUP | EPOLLERR) ? take(c) : 0;
}

/* Time until something is due, at most a second. */
static struct timespec next_due(void) {
    int64_t now = (int64_t)now_us(), wait = 1000000;
    for (int i = 0; i < active_count; i++) {
        if (active[i]->out_length > active[i]->out_done) continue; /* EPOLLOUT wakes it */
        int64_t left = (int64_t)active[i]->due - now;
        if (left < wait) wait = left < 0 ? 0 : left;
    }
    return (struct timespec){wait / 1000000, wait % 1000000 * 1000};
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: mock PORT\n");
        return 2;
    }
    write_answers();
    int listener = listen_on(atoi(argv[1]));
    poller = epoll_create1(0);
    struct epoll_event e = {.events = EPOLLIN, .data.fd = listener}, ready[EVENTS];
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &e);
    for (;;) {
        struct timespec wait = next_due();
        int n = epoll_pwait2(poller, ready, EVENTS, &wait, NULL);
        for (int i = 0; i < n; i++) {
            int fd = ready[i].data.fd;
            if (fd == listener) {
                accept_all(listener);
                continue;
            }
            connection *c = by_fd[fd];
            if (c && serve(c, ready[i].events) < 0) drop(c);
        }
        /* Backwards: whoever leaves is replaced by the last, which was stepped already. */
        uint64_t now = now_us();
        for (int i = active_count - 1; i >= 0; i--) {
            connection *c = active[i];
            if (i < active_count && step(c, now) < 0) drop(c);
        }
    }
}
