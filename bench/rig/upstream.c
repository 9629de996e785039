/* A chat-completions provider to measure proxies against: one thread, epoll, POST anything.
 *
 *   upstream PORT
 *
 * `"stream": true` is answered with CHUNKS content chunks, N milliseconds apart where the body says
 * `mock-gapN`. Each carries the time it was written (t=NANOSECONDS of CLOCK_MONOTONIC), so that a reader on the same
 * machine knows what every chunk was delayed by. Any other call gets one completion of about 1 KB.
 * Both end in MARK, by which the reader knows that nothing is missing, and report an honest usage:
 * four bytes a token, of the body that came and of the text that went. A GET is answered with a
 * list of models, which some proxies ask for before they take calls.
 *
 * It does next to no work for a call, because it shares a core with the load generator and must
 * not be what is measured.
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

enum { MAX_CONNECTIONS = 8192, CHUNKS = 50, TEXT_BYTES = 620, BYTES_PER_TOKEN = 4 };
enum { CHUNKED = -1, EVENTS = 256, READ_BYTES = 65536, FLAG_WINDOW = 512 };
#define SECOND_NS 1000000000LL
#define MARK "[whole]"
#define WORDS "the quick brown fox jumps over a lazy dog "
#define HEADERS "x-request-id: req_mock_1\r\n"
#define CHUNK_BEGIN                                                                               \
    "{\"id\":\"chatcmpl-mock1\",\"object\":\"chat.completion.chunk\",\"created\":1760000000,"     \
    "\"model\":\"mock\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_mock\","
#define USAGE                                                                                     \
    "\"usage\":{\"prompt_tokens\":%ld,\"completion_tokens\":%ld,\"total_tokens\":%ld,"            \
    "\"prompt_tokens_details\":{\"cached_tokens\":0,\"audio_tokens\":0},"                         \
    "\"completion_tokens_details\":{\"reasoning_tokens\":0,\"audio_tokens\":0}}"

typedef struct {
    int fd, streaming, sent, wants_usage, stream_index;
    long input_tokens, output_bytes;
    int64_t gap_ns, due_ns;
    char *in, *out;
    size_t in_size, in_cap, out_size, out_done, out_cap;
} connection;

static connection connections[MAX_CONNECTIONS];
static int streams[MAX_CONNECTIONS], stream_count, epoll;
static char text[TEXT_BYTES + 1];

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * SECOND_NS + now.tv_nsec;
}

static void watch(connection *c, uint32_t events, int operation) {
    struct epoll_event event = {.events = events, .data.fd = c->fd};
    epoll_ctl(epoll, operation, c->fd, &event);
}

static void end_stream(connection *c) {
    if (!c->streaming) return;
    int last = streams[--stream_count];
    streams[c->stream_index] = last;
    connections[last].stream_index = c->stream_index;
    c->streaming = 0;
}

static void hang_up(connection *c) {
    end_stream(c);
    close(c->fd);
    c->fd = -1;
    c->in_size = c->out_size = c->out_done = 0;
}

/* Writes now what the socket takes, keeps the rest for when it takes more. -1: it has gone. */
static int put(connection *c, const char *bytes, size_t size) {
    if (c->out_size == c->out_done) {
        c->out_size = c->out_done = 0;
        ssize_t written = write(c->fd, bytes, size);
        if (written < 0 && errno != EAGAIN) return hang_up(c), -1;
        if (written > 0) bytes += written, size -= written;
        if (!size) return 0;
    }
    if (c->out_size + size > c->out_cap) {
        c->out_cap = (c->out_size + size) * 2;
        c->out = realloc(c->out, c->out_cap);
    }
    memcpy(c->out + c->out_size, bytes, size);
    c->out_size += size;
    watch(c, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
    return 0;
}

static void put_kept(connection *c) {
    ssize_t written = write(c->fd, c->out + c->out_done, c->out_size - c->out_done);
    if (written < 0) {
        if (errno != EAGAIN) hang_up(c);
        return;
    }
    c->out_done += written;
    if (c->out_done == c->out_size) watch(c, EPOLLIN, EPOLL_CTL_MOD);
}

static int put_json(connection *c, const char *body, int size) {
    char answer[4096];
    int total = snprintf(answer, sizeof answer,
                         "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n" HEADERS
                         "Content-Length: %d\r\n\r\n%.*s", size, size, body);
    return put(c, answer, total);
}

static int put_completion(connection *c) {
    char body[3000];
    long output = (TEXT_BYTES + sizeof MARK - 1) / BYTES_PER_TOKEN;
    int size = snprintf(
        body, sizeof body,
        "{\"id\":\"chatcmpl-mock1\",\"object\":\"chat.completion\",\"created\":1760000000,"
        "\"model\":\"mock\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\","
        "\"content\":\"%s" MARK "\",\"refusal\":null,\"annotations\":[]},\"logprobs\":null,"
        "\"finish_reason\":\"stop\"}]," USAGE ",\"service_tier\":\"default\","
        "\"system_fingerprint\":\"fp_mock\"}",
        text, c->input_tokens, output, c->input_tokens + output);
    return put_json(c, body, size);
}

/* The next event of a stream, each in an HTTP chunk of its own, as a provider writes them.
 * 1: that was the last, 0: there are more, -1: the reader has gone. */
static int put_event(connection *c) {
    char event[1000], chunk[1100];
    int size, number = c->sent++;
    long output = c->output_bytes / BYTES_PER_TOKEN;
    if (number < CHUNKS) {
        char said[64];
        c->output_bytes += snprintf(said, sizeof said, "t=%lld %s", (long long)now_ns(),
                                    number == CHUNKS - 1 ? MARK : "");
        size = snprintf(event, sizeof event, "data: " CHUNK_BEGIN "\"choices\":[{\"index\":0,"
                        "\"delta\":{\"content\":\"%s\"},\"logprobs\":null,"
                        "\"finish_reason\":null}]}\n\n", said);
    } else if (number == CHUNKS) {
        size = snprintf(event, sizeof event, "data: " CHUNK_BEGIN "\"choices\":[{\"index\":0,"
                        "\"delta\":{},\"logprobs\":null,\"finish_reason\":\"stop\"}]}\n\n");
        if (!c->wants_usage) c->sent++;
    } else if (number == CHUNKS + 1) {
        size = snprintf(event, sizeof event, "data: " CHUNK_BEGIN "\"choices\":[]," USAGE "}\n\n",
                        c->input_tokens, output, c->input_tokens + output);
    } else {
        static const char end[] = "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n";
        return put(c, end, sizeof end - 1) < 0 ? -1 : 1;
    }
    size = snprintf(chunk, sizeof chunk, "%x\r\n%.*s\r\n", size, size, event);
    return put(c, chunk, size);
}

static void begin_stream(connection *c) {
    static const char head[] =
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n" HEADERS
        "Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n";
    c->sent = 0;
    c->output_bytes = 0;
    int state = put(c, head, sizeof head - 1);
    if (!c->gap_ns)
        while (state == 0) state = put_event(c);
    if (state) return;
    c->streaming = 1;
    c->due_ns = now_ns();
    c->stream_index = stream_count;
    streams[stream_count++] = c->fd;
}

static int says(const char *body, size_t size, const char *what) {
    return memmem(body, size, what, strlen(what)) != NULL;
}

/* The flag stands at one end of the bodies we are sent or pass through; searching 400 KB for it
 * in the middle would cost more than the answer. */
static int asks_for_stream(const char *body, size_t size) {
    size_t window = size < FLAG_WINDOW ? size : FLAG_WINDOW;
    const char *last = body + size - window;
    return says(body, window, "\"stream\":true") || says(body, window, "\"stream\": true") ||
           says(last, window, "\"stream\":true") || says(last, window, "\"stream\": true");
}

static void answer(connection *c, int is_get, const char *body, size_t size) {
    static const char models[] = "{\"object\":\"list\",\"data\":[{\"id\":\"mock\",\"object\":"
                                 "\"model\",\"created\":1760000000,\"owned_by\":\"mock\"}]}";
    c->input_tokens = size / BYTES_PER_TOKEN;
    if (is_get) {
        put_json(c, models, sizeof models - 1);
    } else if (asks_for_stream(body, size)) {
        const char *gap = memmem(body, size, "mock-gap", 8);
        c->gap_ns = gap ? atoi(gap + 8) * 1000000LL : 0;
        c->wants_usage = says(body, size, "\"include_usage\":true") ||
                         says(body, size, "\"include_usage\": true");
        begin_stream(c);
    } else {
        put_completion(c);
    }
}

/* Bytes of the first request in `in`, its body's place and length; 0: not all of it is here. */
static size_t whole_request(connection *c, char **body, size_t *body_size) {
    char *end = memmem(c->in, c->in_size, "\r\n\r\n", 4);
    if (!end) return 0;
    *body = end + 4;
    size_t head = *body - c->in, rest = c->in_size - head;
    *end = 0; /* the body may name headers too */
    const char *length = strcasestr(c->in, "\r\ncontent-length:");
    int chunked = strcasestr(c->in, "transfer-encoding: chunked") != NULL;
    *end = '\r';
    if (!chunked) {
        *body_size = length ? strtoul(length + 17, NULL, 10) : 0;
        return rest >= *body_size ? head + *body_size : 0;
    }
    /* Nothing here needs the body without its chunk sizes, only where it ends. */
    char *last = memmem(*body, rest, "0\r\n\r\n", 5);
    if (!last || last + 5 != c->in + c->in_size) return 0;
    *body_size = rest;
    return c->in_size;
}

static void answer_all(connection *c) {
    char *body;
    size_t size, body_size;
    while (c->fd >= 0 && !c->streaming && (size = whole_request(c, &body, &body_size))) {
        answer(c, !memcmp(c->in, "GET ", 4), body, body_size);
        if (c->fd < 0) return;
        memmove(c->in, c->in + size, c->in_size - size);
        c->in_size -= size;
        c->in[c->in_size] = 0;
    }
}

static void take(connection *c) {
    if (c->in_cap - c->in_size < READ_BYTES) {
        c->in_cap = c->in_cap * 2 + READ_BYTES;
        c->in = realloc(c->in, c->in_cap);
    }
    ssize_t got = read(c->fd, c->in + c->in_size, c->in_cap - c->in_size - 1);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
        hang_up(c);
        return;
    }
    c->in_size += got;
    c->in[c->in_size] = 0;
    answer_all(c);
}

static void handle(connection *c, uint32_t events) {
    if (c->fd >= 0 && events & EPOLLOUT) put_kept(c);
    if (c->fd >= 0 && events & ~EPOLLOUT) take(c);
}

static void accept_all(int listener) {
    int fd, one = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        if (fd >= MAX_CONNECTIONS) {
            close(fd);
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        connections[fd].fd = fd;
        watch(&connections[fd], EPOLLIN, EPOLL_CTL_ADD);
    }
}

/* Writes what is due and says how long the next event has time. */
static int64_t run_streams(void) {
    int64_t now = now_ns(), next = INT64_MAX;
    for (int i = stream_count - 1; i >= 0; i--) {
        if (i >= stream_count) continue; /* others ended meanwhile */
        connection *c = &connections[streams[i]];
        if (c->due_ns <= now) {
            int state = put_event(c);
            c->due_ns += c->gap_ns;
            if (state == 1) end_stream(c), answer_all(c);
            if (state) continue;
        }
        if (c->due_ns < next) next = c->due_ns;
    }
    return next;
}

static int listen_on(int port) {
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 4096)) {
        perror("upstream");
        exit(1);
    }
    return fd;
}

int main(int count, char **arguments) {
    if (count != 2) return fprintf(stderr, "usage: upstream PORT\n"), 2;
    signal(SIGPIPE, SIG_IGN);
    for (int i = 0; i < TEXT_BYTES; i++) text[i] = WORDS[i % (sizeof WORDS - 1)];
    int listener = listen_on(atoi(arguments[1]));
    connection listening = {.fd = listener};
    epoll = epoll_create1(0);
    watch(&listening, EPOLLIN, EPOLL_CTL_ADD);
    for (;;) {
        struct epoll_event events[EVENTS];
        int64_t next = run_streams(), wait_ns = next == INT64_MAX ? SECOND_NS : next - now_ns();
        struct timespec timeout = {0};
        if (wait_ns > 0) timeout = (struct timespec){wait_ns / SECOND_NS, wait_ns % SECOND_NS};
        int ready = epoll_pwait2(epoll, events, EVENTS, &timeout, NULL);
        for (int i = 0; i < ready; i++) {
            if (events[i].data.fd == listener) accept_all(listener);
            else handle(&connections[events[i].data.fd], events[i].events);
        }
    }
}
