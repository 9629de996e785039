#define _GNU_SOURCE
#include "request.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void find_slots(request *r) {
    char *found = r->bytes, *end = r->bytes + r->size;
    while (r->slot_count < SLOTS_MAX && (found = memmem(found, end - found, SLOT, SLOT_BYTES))) {
        r->slots[r->slot_count++] = found - r->bytes;
        found += SLOT_BYTES;
    }
}

request request_read(const char *file, const target *to) {
    request r = {0};
    FILE *body = fopen(file, "rb");
    if (!body) perror(file), exit(2);
    fseek(body, 0, SEEK_END);
    long size = ftell(body);
    rewind(body);
    r.bytes = malloc(size + sizeof *to + 1024);
    r.size = sprintf(r.bytes,
                     "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAccept: */*\r\n"
                     "Content-Type: application/json\r\nAuthorization: Bearer sk-bench\r\n%s"
                     "Content-Length: %ld\r\n\r\n",
                     to->path, to->port, to->headers, size);
    if (fread(r.bytes + r.size, 1, size, body) != (size_t)size) perror(file), exit(2);
    fclose(body);
    r.size += size;
    find_slots(&r);
    return r;
}

request request_copy(const request *from) {
    request r = *from;
    r.bytes = malloc(r.size);
    memcpy(r.bytes, from->bytes, r.size);
    return r;
}

void request_fill(request *r, const char *id) {
    for (int i = 0; i < r->slot_count; i++) memcpy(r->bytes + r->slots[i], id, SLOT_BYTES);
}

void request_draw(char *id) {
    static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyz";
    static uint64_t next;
    if (!next) next = (uint64_t)time(NULL) * 1000000; /* no run starts a million in a second */
    uint64_t number = next++;
    for (int i = SLOT_BYTES - 1; i >= 0; i--, number /= 36) id[i] = digits[number % 36];
}
