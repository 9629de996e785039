/* A request as it is sent, with the places at which each has something of its own. */
#include <stddef.h>

enum { SLOT_BYTES = 12, SLOTS_MAX = 128 };
#define SLOT "@REQUEST-ID@"

typedef struct {
    char *bytes; /* head and body */
    size_t size, slots[SLOTS_MAX];
    int slot_count;
} request;

/* Where a request goes. headers: whole lines. */
typedef struct {
    int port;
    char path[256], headers[4096];
} target;

/* Reads a body, puts a head before it and finds its slots. Ends the program if it cannot. */
request request_read(const char *file, const target *to);

/* The same in memory of its own, so that slots filled here are not filled there. */
request request_copy(const request *from);

/* Fills every slot with SLOT_BYTES characters. */
void request_fill(request *r, const char *id);

/* SLOT_BYTES characters that no other request has had, of this run or of an earlier one. */
void request_draw(char *id);
