/*
 * lg.c is a load generator: closed loop, HTTP/1.1 keep-alive to 127.0.0.1, one thread, epoll.
 *
 *   cc -O2 -o lg lg.c && ./lg -p PORT -b BODYFILE [options]
 *
 *   -P PATH     /v1/chat/completions
 *   -H "k: v"   one more header, may be repeated
 *   -c N        connections, each with one request at a time (1)
 *   -d SECONDS  what is measured (3); longer until one was answered, or 30 s more
 *   -w SECONDS  warm-up before it (0.5)
 *   -n N        stop after N measured answers
 *   -r US       time between the first requests of two connections, so that they do not march in step
 *   -g          bursts: all connections send in the same instant, and again when all were answered
 *   -s          answers are SSE: count events (lines that begin with "data:"), time the first token
 *   -v TEXT     each request has another number in place of this text, of as many digits, so that no two
 *               are equal; the body has to hold it
 *   -e N        with -s: an answer of fewer events is short
 *   -i PID,...  whose CPU time to account, from /proc/PID/task/(any)/schedstat
 *
 * Prints one JSON object. Times in milliseconds, CPU in seconds; what was not seen is null.
 *   total     answers that came whole, warm-up included; all other fields are of the measured time
 *   errors    connections that broke, answers that were not 200
 *   cpu       CPU seconds of the given processes; waited: seconds they were ready but had no CPU
 *   ttft50    request to first token: the first event whose "content" is not empty
 *   gap50     time between two reads that held events of one stream
 *   short     streams with fewer events than -e; undone: streams without [DONE]
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { HEAD_ROOM = 16384, READ_ROOM = 1 << 18, BODY_ROOM = 1 << 21, SAMPLES = 1 << 21, EVENTS = 256, PIDS = 256 };
#define LATE_NS 30000000000u /* how long a first answer is waited for */

/* Where the reader stands in an answer. */
enum place { HEAD, SIZED, CHUNK_SIZE, CHUNK_DATA, CHUNK_END, TRAILER, TO_CLOSE, WHOLE };

/* How far a pattern has matched. None of those below needs more than a restart when it fails. */
typedef struct {
    const char *pattern;
    int at;
} matcher;

typedef struct {
    int fd;
    int busy;           /* a request is out */
    uint64_t due;       /* when its first request leaves */
    uint64_t sent_at;   /* when this request left */
    enum place place;
    char head[HEAD_ROOM];
    size_t head_length;
    int status;
    int closes;         /* the server closes after this answer */
    long left;          /* bytes of the body or chunk still to come */
    char size[32];      /* a chunk's size line */
    int size_length;
    int line_start;     /* the next byte of the stream begins a line */
    matcher event, token, done;
    int token_seen, done_seen;
    long events;        /* of this answer */
    uint64_t events_at; /* when the last ones came */
} connection;

typedef struct {
    double *values;
    size_t length;
} samples;

typedef struct {
    double ran, waited;
} cpu;

static int port = 8000, connections = 1, sse, bursts;
static double duration = 3, warm = 0.5;
static long ramp_us, most, fewest_events;
static const char *path = "/v1/chat/completions";
static int pids[PIDS], pid_count;

static char *request;
static size_t request_length;
static char *varied; /* where in the request the text of -v stands */
static int varied_length;
static uint64_t asked;
static int poller, measuring;
static long total, answered, errors, events, short_streams, undone;
static int status;
static samples latency, first_token, gap;

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void fail(const char *what) {
    fprintf(stderr, "lg: %s: %s\n", what, errno ? strerror(errno) : "wrong");
    exit(2);
}

static void *must(void *memory) {
    if (!memory) fail("memory");
    return memory;
}

/* One thread's schedstat is "ns on a CPU, ns ready but waiting, times scheduled". */
static void add_thread(cpu *sum, int pid, const char *thread) {
    char name[320];
    unsigned long long ran, waited;
    snprintf(name, sizeof name, "/proc/%d/task/%s/schedstat", pid, thread);
    FILE *f = fopen(name, "r");
    if (!f) return; /* it ended meanwhile */
    if (fscanf(f, "%llu %llu", &ran, &waited) == 2) {
        sum->ran += (double)ran / 1e9;
        sum->waited += (double)waited / 1e9;
    }
    fclose(f);
}

static cpu cpu_seconds(void) {
    cpu sum = {0, 0};
    for (int i = 0; i < pid_count; i++) {
        char name[64];
        snprintf(name, sizeof name, "/proc/%d/task", pids[i]);
        DIR *threads = opendir(name);
        if (!threads) continue;
        for (struct dirent *e; (e = readdir(threads));)
            if (e->d_name[0] != '.') add_thread(&sum, pids[i], e->d_name);
        closedir(threads);
    }
    return sum;
}

static void note(samples *s, double value) {
    if (measuring && s->length < SAMPLES) s->values[s->length++] = value;
}

static double ms(uint64_t from, uint64_t to) {
    return (double)(to - from) / 1e6;
}

static void dial(connection *c) {
    int one = 1;
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0) fail("socket");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(c->fd, (struct sockaddr *)&a, sizeof a)) fail("connect");
    epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &e);
}

/* Another number into the request. */
static void vary(void) {
    uint64_t left = ++asked;
    for (int at = varied_length - 1; at >= 0; at--, left /= 10) varied[at] = (char)('0' + left % 10);
}

static void ask(connection *c) {
    if (varied) vary();
    c->busy = 1;
    c->place = HEAD;
    c->head_length = 0;
    c->closes = 0;
    c->line_start = 1;
    c->event = (matcher){"data:", 0};
    c->token = (matcher){"\"content\":\"", 0};
    c->done = (matcher){"[DONE]", 0};
    c->token_seen = c->done_seen = 0;
    c->events = 0;
    c->events_at = 0;
    c->sent_at = now_ns();
    for (size_t at = 0; at < request_length;) {
        ssize_t n = send(c->fd, request + at, request_length - at, MSG_NOSIGNAL);
        if (n < 0) return; /* the read that follows sees the end and counts it */
        at += (size_t)n;
    }
}

/* Whether this byte completes the pattern. */
static int matches(matcher *m, char byte) {
    if (byte != m->pattern[m->at]) m->at = 0;
    if (byte == m->pattern[m->at] && !m->pattern[++m->at]) {
        m->at = 0;
        return 1;
    }
    return 0;
}

/* Whether this byte is the first of a token: after "content":" comes something but its closing quote. */
static int begins_token(connection *c, char byte) {
    if (c->token_seen == -1) { /* the byte after the opening quote */
        c->token_seen = byte != '"';
        return c->token_seen;
    }
    if (byte == ' ' && c->token.at == 10) return 0; /* "content": "..." */
    if (matches(&c->token, byte)) c->token_seen = -1;
    return 0;
}

static void read_stream(connection *c, const char *bytes, size_t length, uint64_t now) {
    long before = c->events;
    int token = 0;
    for (size_t i = 0; i < length; i++) {
        char byte = bytes[i];
        if (!c->done_seen && matches(&c->done, byte)) c->done_seen = 1;
        if (c->token_seen != 1) token |= begins_token(c, byte);
        if (c->line_start) {
            int kept = byte == c->event.pattern[c->event.at];
            if (kept && matches(&c->event, byte)) {
                c->events++;
                c->line_start = 0;
            } else if (!kept) {
                c->event.at = 0;
                c->line_start = 0;
            }
        }
        if (byte == '\n') {
            c->line_start = 1;
            c->event.at = 0;
        }
    }
    if (token) note(&first_token, ms(c->sent_at, now));
    if (c->events == before) return;
    if (c->events_at) note(&gap, ms(c->events_at, now));
    c->events_at = now;
    if (measuring) events += c->events - before;
}

/* Reads the head once it is whole, and how the body will end. */
static void read_head(connection *c) {
    char *at;
    c->status = status = atoi(c->head + 9);
    c->left = -1;
    if ((at = strcasestr(c->head, "\r\ncontent-length:"))) c->left = atol(at + 17);
    if (strcasestr(c->head, "\r\nconnection: close")) c->closes = 1;
    if ((at = strcasestr(c->head, "\r\ntransfer-encoding:")) && !strncasecmp(at + 20 + strspn(at + 20, " "), "chunked", 7)) {
        c->place = CHUNK_SIZE;
        c->size_length = 0;
    } else if (c->left < 0) {
        c->place = TO_CLOSE;
        c->closes = 1;
    } else {
        c->place = c->left ? SIZED : WHOLE;
    }
}

/* Takes bytes of the head, returns how many. -1: the head is larger than anything sensible. */
static ssize_t take_head(connection *c, const char *bytes, size_t length) {
    size_t room = HEAD_ROOM - 1 - c->head_length, before = c->head_length;
    size_t n = length < room ? length : room;
    memcpy(c->head + c->head_length, bytes, n);
    c->head_length += n;
    char *end = memmem(c->head, c->head_length, "\r\n\r\n", 4);
    if (!end) return n == length ? (ssize_t)n : -1;
    end[2] = 0;
    read_head(c);
    return end + 4 - c->head - (ssize_t)before;
}

static void take_size(connection *c, char byte) {
    if (byte == '\n') {
        c->size[c->size_length] = 0;
        c->left = strtol(c->size, NULL, 16);
        c->size_length = 0;
        c->place = c->left ? CHUNK_DATA : TRAILER;
    } else if (c->size_length < (int)sizeof c->size - 1) {
        c->size[c->size_length++] = byte;
    }
}

/* Takes bytes of an answer until it is WHOLE. -1: it cannot be read. */
static int take(connection *c, const char *bytes, size_t length, uint64_t now) {
    while (length && c->place != WHOLE) {
        ssize_t n = 1;
        switch (c->place) {
            case HEAD:
                n = take_head(c, bytes, length);
                if (n < 0) return -1;
                break;
            case CHUNK_SIZE: take_size(c, *bytes); break;
            case CHUNK_END:
                if (*bytes == '\n') c->place = CHUNK_SIZE;
                break;
            case TRAILER: /* no trailers: the next line is the empty one */
                if (*bytes == '\n') c->place = WHOLE;
                break;
            default:
                n = c->place == TO_CLOSE || length < (size_t)c->left ? (ssize_t)length : c->left;
                if (sse) read_stream(c, bytes, (size_t)n, now);
                if (c->place == TO_CLOSE) break;
                c->left -= n;
                if (!c->left) c->place = c->place == SIZED ? WHOLE : CHUNK_END;
        }
        bytes += n;
        length -= (size_t)n;
    }
    return 0;
}

static void finish(connection *c, uint64_t now) {
    c->busy = 0;
    total++;
    if (!measuring) return;
    if (c->status != 200) {
        errors++;
        return;
    }
    answered++;
    note(&latency, ms(c->sent_at, now));
    if (sse && c->events < fewest_events) short_streams++;
    if (sse && !c->done_seen) undone++;
}

static void receive(connection *c) {
    static char bytes[READ_ROOM];
    ssize_t n = recv(c->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    int broken = 0;
    if (n < 0 && errno == EAGAIN) return;
    uint64_t now = now_ns();
    if (n > 0) {
        broken = take(c, bytes, (size_t)n, now) < 0;
    } else if (c->busy && c->place == TO_CLOSE) {
        c->place = WHOLE;
    } else {
        broken = 1;
    }
    if (c->busy && !broken && c->place == WHOLE) finish(c, now);
    if (broken && c->busy && measuring) errors++;
    if (broken || (!c->busy && c->closes)) {
        close(c->fd);
        dial(c);
        c->busy = 0;
    }
    if (!c->busy && !bursts) ask(c);
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void print_number(const char *name, double value, int known) {
    if (known) printf(",\"%s\":%.6g", name, value);
    else printf(",\"%s\":null", name);
}

static void print_percentile(const char *name, samples *s, double share) {
    size_t at = s->length ? (size_t)(share * (double)(s->length - 1) + 0.5) : 0;
    print_number(name, s->length ? s->values[at] : 0, s->length > 0);
}

static void print(double seconds, cpu used) {
    qsort(latency.values, latency.length, sizeof(double), ascending);
    qsort(first_token.values, first_token.length, sizeof(double), ascending);
    qsort(gap.values, gap.length, sizeof(double), ascending);
    printf("{\"connections\":%d,\"total\":%ld,\"answered\":%ld,\"errors\":%ld", connections, total, answered, errors);
    printf(",\"events\":%ld,\"short\":%ld,\"undone\":%ld", events, short_streams, undone);
    print_number("status", status, status > 0);
    print_number("seconds", seconds, 1);
    print_number("cpu", used.ran, pid_count > 0);
    print_number("waited", used.waited, pid_count > 0);
    print_percentile("p50", &latency, 0.5);
    print_percentile("p90", &latency, 0.9);
    print_percentile("p99", &latency, 0.99);
    print_percentile("ttft50", &first_token, 0.5);
    print_percentile("ttft99", &first_token, 0.99);
    print_percentile("gap50", &gap, 0.5);
    print_percentile("gap99", &gap, 0.99);
    printf("}\n");
}

/* Sends the requests that are due: the ramp's, or the next burst when all of the last were answered. */
static int start(connection *all, int started, uint64_t now) {
    if (!bursts) {
        for (; started < connections && all[started].due <= now; started++)
            if (!all[started].busy) ask(&all[started]); /* busy: reconnected, and so asked already */
        return started;
    }
    for (int i = 0; i < connections; i++)
        if (all[i].busy) return connections;
    for (int i = 0; i < connections; i++) ask(&all[i]);
    return connections;
}

static void run(connection *all) {
    uint64_t now = now_ns(), from = now + (uint64_t)(warm * 1e9), until = 0;
    struct epoll_event ready[EVENTS];
    cpu before = {0, 0};
    for (int i = 0; i < connections; i++) all[i].due = now + (uint64_t)i * (uint64_t)ramp_us * 1000u;
    if (connections > 1 && !bursts) from += (uint64_t)connections * (uint64_t)ramp_us * 1000u;
    for (int started = 0;;) {
        now = now_ns();
        if (!measuring && now >= from) {
            measuring = 1;
            before = cpu_seconds();
            from = now_ns();
            until = from + (uint64_t)(duration * 1e9);
        }
        int seen = answered || errors || now >= until + LATE_NS;
        if (measuring && ((now >= until && seen) || (most && answered >= most))) break;
        started = start(all, started, now);
        int n = epoll_wait(poller, ready, EVENTS, started < connections ? 1 : 20);
        for (int i = 0; i < n; i++) receive(ready[i].data.ptr);
    }
    now = now_ns();
    cpu after = cpu_seconds();
    print((double)(now - from) / 1e9, (cpu){after.ran - before.ran, after.waited - before.waited});
}

static void write_request(const char *file, const char *headers, const char *vary_text) {
    FILE *f = file ? fopen(file, "rb") : NULL;
    if (!f) fail("body file");
    char *body = must(malloc(BODY_ROOM));
    size_t length = fread(body, 1, BODY_ROOM, f);
    fclose(f);
    request = must(malloc(BODY_ROOM + HEAD_ROOM));
    int head = snprintf(request, HEAD_ROOM,
                        "POST %s HTTP/1.1\r\nhost: 127.0.0.1:%d\r\ncontent-type: application/json\r\n"
                        "accept: */*\r\nuser-agent: OpenAI/Python 2.8.0\r\n%scontent-length: %zu\r\n\r\n",
                        path, port, headers, length);
    memcpy(request + head, body, length);
    request_length = (size_t)head + length;
    free(body);
    if (!vary_text || !*vary_text) return;
    varied_length = (int)strlen(vary_text);
    varied = memmem(request + head, length, vary_text, (size_t)varied_length);
    errno = 0;
    if (!varied) fail("the text of -v is not in the body");
}

int main(int argc, char **argv) {
    char headers[8192] = "";
    const char *file = NULL, *vary_text = NULL;
    for (int option; (option = getopt(argc, argv, "p:P:b:c:d:w:H:i:sgr:n:e:v:")) != -1;) {
        switch (option) {
            case 'p': port = atoi(optarg); break;
            case 'P': path = optarg; break;
            case 'b': file = optarg; break;
            case 'c': connections = atoi(optarg); break;
            case 'd': duration = atof(optarg); break;
            case 'w': warm = atof(optarg); break;
            case 's': sse = 1; break;
            case 'g': bursts = 1; break;
            case 'r': ramp_us = atol(optarg); break;
            case 'v': vary_text = optarg; break;
            case 'n': most = atol(optarg); break;
            case 'e': fewest_events = atol(optarg); break;
            case 'H':
                if (strlen(headers) + strlen(optarg) + 3 > sizeof headers) fail("headers");
                strcat(strcat(headers, optarg), "\r\n");
                break;
            case 'i':
                for (char *p = strtok(optarg, ","); p && pid_count < PIDS; p = strtok(NULL, ","))
                    pids[pid_count++] = atoi(p);
                break;
            default: return 2;
        }
    }
    write_request(file, headers, vary_text);
    latency.values = must(malloc(SAMPLES * sizeof(double)));
    first_token.values = must(malloc(SAMPLES * sizeof(double)));
    gap.values = must(malloc(SAMPLES * sizeof(double)));
    poller = epoll_create1(0);
    connection *all = must(calloc((size_t)connections, sizeof *all));
    for (int i = 0; i < connections; i++) dial(&all[i]);
    run(all);
    return 0;
}
