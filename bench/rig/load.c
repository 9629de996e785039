/* Drives one server with chat completions and says what came of it: one thread, epoll.
 *
 *   load -p PORT -u PATH -b BODY [-b BODY]... [-c CONNECTIONS] [-d SECONDS] [-r RATE]
 *        [-s] [-k SESSIONS] [-H "Name: value"]...
 *
 * Without -r every connection sends its next request when its last is answered; with it, requests
 * start at a fixed rate, and latency counts from when each was due, so that a server that falls
 * behind cannot hide it. -s: answers are streams of `upstream`. SLOT in a body becomes a number of
 * its own for each request. With -k the bodies are the steps of a session: as many run side by
 * side, each step waits for the answer to the last, SLOT and the header x-holdfast-session carry
 * the session, and after the last step a new one takes its place.
 *
 * Requests under way when the time is up are waited for, so that what the server spent divides by
 * what it answered. An answer counts if it is a 200 and whole: complete as HTTP, with its text's
 * end and its usage, as a stream with every chunk and [DONE]. One line of JSON; times in µs.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "answer.h"
#include "request.h"
#include "samples.h"

enum { MAX_BODIES = 128, CHUNKS = 50, EVENTS = 512, READ_BYTES = 262144, STATUSES = 600 };
enum { DRAIN_SECONDS = 30, RETRY_NS = 1000000, LEAD_NS = 100000000 };
#define SECOND_NS 1000000000LL
#define MARK "[whole]"
#define TIME_DIGITS_MIN 9

typedef struct {
    int busy, step;
    char id[SLOT_BYTES];
} session;

typedef struct {
    int fd, busy, connected, chunks;
    int64_t due_ns;
    session *session;
    request *sending, own[MAX_BODIES]; /* own: its slots are filled for this connection alone */
    size_t sent, scanned;
    answer answer;
} connection;

static struct {
    int stream, connections, sessions, bodies;
    double seconds, rate;
    target to;
} options = {.connections = 1, .seconds = 3, .to.path = "/v1/chat/completions"};

static request templates[MAX_BODIES];
static connection *connections;
static session *sessions;
static samples latencies, firsts, delays;
static long statuses[STATUSES], closed, partial, answered_in_time;
static char example[400];
static int epoll, stopping;
static int64_t ends_ns;

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * SECOND_NS + now.tv_nsec;
}

static void watch(connection *c, uint32_t events, int operation) {
    struct epoll_event event = {.events = events, .data.ptr = c};
    epoll_ctl(epoll, operation, c->fd, &event);
}

static void open_connection(connection *c) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(options.to.port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    connect(c->fd, (struct sockaddr *)&address, sizeof address);
    c->connected = 0;
    watch(c, EPOLLIN | EPOLLOUT, EPOLL_CTL_ADD);
}

static void send_rest(connection *c) {
    while (c->sent < c->sending->size) {
        ssize_t written = write(c->fd, c->sending->bytes + c->sent, c->sending->size - c->sent);
        if (written < 0) {
            watch(c, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
            return;
        }
        c->sent += written;
    }
}

/* The connection's copy of a body, with its slots filled. */
static request *fill(connection *c, int step, const char *id) {
    if (!c->own[step].bytes) c->own[step] = request_copy(&templates[step]);
    request_fill(&c->own[step], id);
    return &c->own[step];
}

static session *idle_session(void) {
    static int next;
    for (int i = 0; i < options.sessions; i++) {
        session *s = &sessions[next++ % options.sessions];
        if (!s->busy) return s;
    }
    return NULL;
}

static void start(connection *c, int64_t due_ns) {
    char id[SLOT_BYTES];
    c->session = options.sessions ? idle_session() : NULL;
    if (c->session) {
        c->session->busy = 1;
        if (!c->session->step) request_draw(c->session->id);
        c->sending = fill(c, c->session->step, c->session->id);
    } else {
        request_draw(id);
        c->sending = fill(c, 0, id);
    }
    c->busy = 1;
    c->due_ns = due_ns;
    c->chunks = c->sent = c->scanned = 0;
    answer_reset(&c->answer);
    if (c->connected) send_rest(c);
}

static void stop(connection *c) {
    c->busy = 0;
    if (c->session) c->session->busy = 0;
}

/* Times of the chunks that have come whole since the last look. */
static void scan(connection *c, int64_t now) {
    char *from = c->answer.body + c->scanned, *end = c->answer.body + c->answer.size, *found;
    while ((found = memmem(from, end - from, "t=", 2))) {
        char *digit = found + 2;
        int64_t sent_ns = 0;
        for (; digit < end && *digit >= '0' && *digit <= '9'; digit++)
            sent_ns = sent_ns * 10 + *digit - '0';
        if (digit == end) break;
        if (digit - found > TIME_DIGITS_MIN) {
            if (!c->chunks++) samples_add(&firsts, now - c->due_ns);
            samples_add(&delays, now - sent_ns);
        }
        from = digit;
    }
    c->scanned = (found ? found : end > from ? end - 1 : from) - c->answer.body;
}

static int is_whole(const connection *c) {
    const answer *a = &c->answer;
    if (a->status != 200 || !answer_says(a, MARK) || !answer_says(a, "\"prompt_tokens\"")) return 0;
    return !options.stream || (c->chunks == CHUNKS && answer_says(a, "[DONE]"));
}

static void keep_example(const answer *a) {
    if (example[0]) return;
    snprintf(example, sizeof example, "%.160s | %.200s", a->head_size ? a->head : "closed",
             a->size ? a->body : "");
}

static void finish(connection *c, int64_t now) {
    int status = c->answer.status, whole = is_whole(c);
    stop(c);
    if (status > 0 && status < STATUSES) statuses[status]++;
    if (whole) {
        samples_add(&latencies, now - c->due_ns);
        answered_in_time += now <= ends_ns;
    } else {
        partial += status == 200;
        keep_example(&c->answer);
    }
    if (c->session) c->session->step = whole ? (c->session->step + 1) % options.bodies : 0;
}

static void lost(connection *c, int64_t now) {
    close(c->fd);
    if (c->busy && answer_ends_with_connection(&c->answer)) {
        finish(c, now);
    } else if (c->busy) {
        closed++;
        keep_example(&c->answer);
        stop(c);
    }
    open_connection(c);
}

static void next_request(connection *c) {
    if (!stopping && !options.rate) start(c, now_ns());
}

static void receive(connection *c) {
    static char bytes[READ_BYTES];
    ssize_t size = read(c->fd, bytes, sizeof bytes);
    int64_t now = now_ns();
    if (size < 0 && errno == EAGAIN) return;
    if (size <= 0) {
        lost(c, now);
        next_request(c);
        return;
    }
    if (!c->busy) return;
    answer_take(&c->answer, bytes, size);
    if (options.stream && c->answer.size) scan(c, now);
    if (!answer_is_complete(&c->answer)) return;
    int closes = answer_closes(&c->answer);
    finish(c, now);
    if (closes) {
        close(c->fd);
        open_connection(c);
    }
    next_request(c);
}

static void handle(connection *c, uint32_t events) {
    if (events & EPOLLERR) {
        struct timespec pause = {0, RETRY_NS};
        lost(c, now_ns());
        nanosleep(&pause, NULL);
        next_request(c);
        return;
    }
    if (events & EPOLLOUT) {
        c->connected = 1;
        watch(c, EPOLLIN, EPOLL_CTL_MOD);
        if (c->busy) send_rest(c);
    }
    if (events & (EPOLLIN | EPOLLHUP)) receive(c);
}

/* Starts what is due on idle connections; when the next is due, or soon if none was idle. */
static int64_t start_due(int64_t *due_ns, int64_t now) {
    static int next;
    while (*due_ns <= now) {
        connection *c = NULL;
        for (int i = 0; i < options.connections && !c; i++) {
            connection *candidate = &connections[next++ % options.connections];
            if (!candidate->busy && candidate->connected) c = candidate;
        }
        if (!c) return now + RETRY_NS;
        start(c, *due_ns);
        *due_ns += SECOND_NS / options.rate;
    }
    return *due_ns;
}

static int under_way(void) {
    int busy = 0;
    for (int i = 0; i < options.connections; i++) busy += connections[i].busy;
    return busy;
}

/* The backlog in ns that a fixed rate left at the end; 0 without one. */
static int64_t run(void) {
    struct epoll_event events[EVENTS];
    int64_t due_ns = now_ns() + (options.rate ? LEAD_NS : 0), backlog_ns = 0;
    ends_ns = due_ns + (int64_t)(options.seconds * SECOND_NS);
    for (int i = 0; i < options.connections; i++) {
        open_connection(&connections[i]);
        if (!options.rate) start(&connections[i], now_ns());
    }
    for (;;) {
        int64_t now = now_ns(), until = stopping ? ends_ns + DRAIN_SECONDS * SECOND_NS : ends_ns;
        if (!stopping && now >= ends_ns) {
            stopping = 1;
            if (options.rate && due_ns < now) backlog_ns = now - due_ns;
            continue;
        }
        if (stopping && (!under_way() || now >= until)) return backlog_ns;
        if (options.rate && !stopping) {
            int64_t next = start_due(&due_ns, now);
            if (next < until) until = next;
        }
        int64_t wait = until > now ? until - now : 0;
        struct timespec timeout = {wait / SECOND_NS, wait % SECOND_NS};
        int ready = epoll_pwait2(epoll, events, EVENTS, &timeout, NULL);
        for (int i = 0; i < ready; i++) handle(events[i].data.ptr, events[i].events);
    }
}

static void print_result(int64_t backlog_ns) {
    printf("{\"answered\":%zu,\"rate\":%.1f,\"chunks\":%zu,\"closed\":%ld,\"partial\":%ld,"
           "\"unanswered\":%d,\"backlog_ms\":%.1f,\"statuses\":{",
           latencies.count, answered_in_time / options.seconds, delays.count, closed, partial,
           under_way(), backlog_ns / 1e6);
    const char *comma = "";
    for (int i = 0; i < STATUSES; i++) {
        if (!statuses[i]) continue;
        printf("%s\"%d\":%ld", comma, i, statuses[i]);
        comma = ",";
    }
    printf("}");
    samples_print("latency_us", &latencies);
    samples_print("first_us", &firsts);
    samples_print("chunk_us", &delays);
    for (char *c = example; *c; c++)
        if (*c == '"' || *c == '\\' || *c < ' ' || *c > '~') *c = ' ';
    printf(",\"example\":\"%s\"}\n", example);
}

static void add_header(const char *line) {
    char *headers = options.to.headers;
    size_t used = strlen(headers);
    snprintf(headers + used, sizeof options.to.headers - used, "%s\r\n", line);
}

static void read_option(int option, const char *value) {
    switch (option) {
    case 'p': options.to.port = atoi(value); break;
    case 'u': snprintf(options.to.path, sizeof options.to.path, "%s", value); break;
    case 'c': options.connections = atoi(value); break;
    case 'd': options.seconds = atof(value); break;
    case 'r': options.rate = atof(value); break;
    case 'k': options.sessions = atoi(value); break;
    case 's': options.stream = 1; break;
    case 'H': add_header(value); break;
    default: fprintf(stderr, "see the top of load.c\n"), exit(2);
    }
}

int main(int count, char **arguments) {
    const char *bodies[MAX_BODIES];
    int option;
    while ((option = getopt(count, arguments, "p:u:b:c:d:r:k:sH:")) != -1) {
        if (option != 'b') read_option(option, optarg);
        else if (options.bodies < MAX_BODIES) bodies[options.bodies++] = optarg;
    }
    if (!options.bodies || !options.to.port) read_option('?', NULL);
    /* A session has one request under way, so each connection needs one of its own. */
    if (options.sessions && options.sessions < options.connections)
        options.sessions = options.connections;
    signal(SIGPIPE, SIG_IGN);
    if (options.sessions) add_header("x-holdfast-session: " SLOT);
    for (int i = 0; i < options.bodies; i++) templates[i] = request_read(bodies[i], &options.to);
    connections = calloc(options.connections, sizeof *connections);
    sessions = calloc(options.sessions + 1, sizeof *sessions);
    epoll = epoll_create1(0);
    print_result(run());
    return 0;
}
