#define _GNU_SOURCE
#include "answer.h"

#include <stdlib.h>
#include <string.h>

/* The first four are the states of a chunked body, in which TRAILER ends with left at -1. */
enum { SIZE_LINE, DATA, DATA_END, TRAILER, UNTIL_CLOSE, COUNTED };

void answer_reset(answer *a) {
    a->status = a->has_head = a->framing = 0;
    a->head_size = a->size = 0;
}

int answer_is_complete(const answer *a) {
    if (!a->has_head) return 0;
    return (a->framing == COUNTED && a->left == 0) || (a->framing == TRAILER && a->left < 0);
}

int answer_ends_with_connection(const answer *a) {
    return a->has_head && a->framing == UNTIL_CLOSE;
}

int answer_closes(const answer *a) {
    return strcasestr(a->head, "\r\nconnection: close") != NULL;
}

int answer_says(const answer *a, const char *what) {
    return a->size && memmem(a->body, a->size, what, strlen(what)) != NULL;
}

/* Takes bytes into the head until it is whole; says how many were the head's. */
static size_t take_head(answer *a, const char *bytes, size_t size) {
    size_t before = a->head_size, room = HEAD_BYTES - 1 - before;
    if (size > room) size = room;
    memcpy(a->head + before, bytes, size);
    a->head_size += size;
    a->head[a->head_size] = 0;
    char *end = strstr(a->head, "\r\n\r\n");
    if (!end) return size;
    size_t used = end + 4 - a->head - before;
    *end = 0;
    a->status = atoi(a->head + 9);
    if (a->status / 100 == 1) { /* an interim answer: the real one follows */
        a->head_size = 0;
        return used;
    }
    a->has_head = 1;
    a->left = 0;
    const char *length = strcasestr(a->head, "\r\ncontent-length:");
    if (strcasestr(a->head, "\r\ntransfer-encoding: chunked")) a->framing = SIZE_LINE;
    else if (length) a->framing = COUNTED, a->left = atoll(length + 17);
    else a->framing = UNTIL_CLOSE;
    return used;
}

static void keep(answer *a, const char *bytes, size_t size) {
    if (a->size + size + 1 > a->cap) {
        a->cap = (a->size + size + 1) * 2;
        a->body = realloc(a->body, a->cap);
    }
    memcpy(a->body + a->size, bytes, size);
    a->size += size;
    a->body[a->size] = 0;
}

static int hex(char digit) {
    if (digit >= '0' && digit <= '9') return digit - '0';
    return (digit | 32) >= 'a' && (digit | 32) <= 'f' ? (digit | 32) - 'a' + 10 : -1;
}

/* Takes one piece of a chunked body; says how many bytes it was. */
static size_t take_chunked(answer *a, const char *bytes, size_t size) {
    if (a->framing == DATA) {
        size_t part = (size_t)a->left < size ? (size_t)a->left : size;
        keep(a, bytes, part);
        if (!(a->left -= part)) a->framing = DATA_END;
        return part;
    }
    if (a->framing == SIZE_LINE) {
        if (*bytes == '\n') a->framing = a->left ? DATA : TRAILER;
        else if (hex(*bytes) >= 0) a->left = a->left * 16 + hex(*bytes);
    } else if (a->framing == DATA_END) {
        if (*bytes == '\n') a->framing = SIZE_LINE, a->left = 0;
    } else if (*bytes == '\n') { /* a line of the trailer; an empty one ends it */
        a->left = a->left ? 0 : -1;
    } else if (*bytes != '\r') {
        a->left = 1;
    }
    return 1;
}

void answer_take(answer *a, const char *bytes, size_t size) {
    while (size && !answer_is_complete(a)) {
        size_t used = size;
        if (!a->has_head) used = take_head(a, bytes, size);
        else if (a->framing < UNTIL_CLOSE) used = take_chunked(a, bytes, size);
        else keep(a, bytes, size), a->left -= size;
        bytes += used;
        size -= used;
    }
}
