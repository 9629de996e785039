/* An HTTP/1.1 answer, taken in as it comes. */
#include <stddef.h>
#include <stdint.h>

enum { HEAD_BYTES = 16384 };

typedef struct {
    int status, has_head, framing;
    int64_t left;
    size_t head_size, size, cap;
    char head[HEAD_BYTES], *body; /* the body without its framing; size bytes, then a 0 */
} answer;

/* Makes ready for the next answer of the same connection. */
void answer_reset(answer *a);

/* Takes what has come, up to the answer's end. */
void answer_take(answer *a, const char *bytes, size_t size);

int answer_is_complete(const answer *a);

/* The answer has no length: it is complete when the connection is closed. */
int answer_ends_with_connection(const answer *a);

/* The server will close the connection after this answer. */
int answer_closes(const answer *a);

int answer_says(const answer *a, const char *what);
