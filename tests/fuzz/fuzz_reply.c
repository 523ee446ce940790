/* Fuzzes the parser: whatever comes, however it is cut into pieces, the same replies come out, and the same end.
 *
 * Input: one byte of options, one byte of how it is cut, then what the server says. */
#include "harness.h"

enum { DECODE = 1, LATIN = 2, REPLACE = 16 };

typedef struct {
    PyObject *replies;
    int failed; /* the stream is of no further use */
} outcome;

static void
note_reply(outcome *out, PyObject *reply, ar_reply_kind kind)
{
    PyObject *shown;
    if (PyExceptionInstance_Check(reply)) { /* the text may hold an address */
        shown = PyUnicode_FromFormat("%d error %s", (int)kind, Py_TYPE(reply)->tp_name);
    } else {
        shown = PyUnicode_FromFormat("%d %R", (int)kind, reply);
    }
    if (shown == NULL || PyList_Append(out->replies, shown) < 0) {
        /* repr() of something too deep to be shown: that it came is enough. */
        PyErr_Clear();
        if (PyList_Append(out->replies, Py_None) < 0) {
            harness_fail("no memory");
        }
    }
    Py_XDECREF(shown);
    Py_DECREF(reply);
}

/* `step`: bytes fed at once; 0: all of them. */
static outcome
parse(const uint8_t *data, size_t size, uint8_t options, size_t step)
{
    ar_reply_sink sink = {.state = &harness_state,
                          .decode = (options & DECODE) != 0,
                          .encoding = options & LATIN ? "latin-1" : NULL,
                          .errors = options & REPLACE ? "replace" : NULL};
    redisReader *reader = ar_reply_reader_new(&sink);
    outcome out = {.replies = harness_need(PyList_New(0))};
    if (reader == NULL) {
        harness_fail("no reader");
    }
    for (size_t fed = 0; fed < size && !out.failed;) {
        size_t piece = step == 0 || step > size - fed ? size - fed : step;
        if (redisReaderFeed(reader, (const char *)data + fed, piece) != REDIS_OK) {
            out.failed = 1;
            break;
        }
        fed += piece;
        for (int more = 1; more;) {
            PyObject *reply = NULL;
            int failed = 0;
            switch (ar_reply_next(reader, &reply, &failed)) {
            case AR_READ_REPLY:
                if (failed != 0 && !PyExceptionInstance_Check(reply)) {
                    harness_fail("failed, and no exception");
                }
                note_reply(&out, reply, sink.kind);
                break;
            case AR_READ_INCOMPLETE:
                more = 0;
                break;
            case AR_READ_FAILED:
                if (!PyErr_Occurred()) {
                    harness_fail("failed without a word");
                }
                PyErr_Clear();
                out.failed = 1;
                more = 0;
                break;
            }
            if (more && PyErr_Occurred()) {
                harness_fail("an exception beside a reply");
            }
        }
    }
    redisReaderFree(reader);
    ar_reply_sink_clear(&sink);
    return out;
}

static void
same(const outcome *one, const outcome *other)
{
    if (one->failed != other->failed ||
        PyObject_RichCompareBool(one->replies, other->replies, Py_EQ) != 1) {
        PyObject_Print(one->replies, stderr, 0);
        fprintf(stderr, " failed %d, in other pieces ", one->failed);
        PyObject_Print(other->replies, stderr, 0);
        fprintf(stderr, " failed %d\n", other->failed);
        harness_fail("other pieces, other replies");
    }
}

static void
once(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return;
    }
    outcome whole = parse(data + 2, size - 2, data[0], 0);
    outcome cut = parse(data + 2, size - 2, data[0], (size_t)data[1] + 1);
    same(&whole, &cut);
    if (size < 200) {
        outcome bytes = parse(data + 2, size - 2, data[0], 1);
        same(&whole, &bytes);
        Py_DECREF(bytes.replies);
    }
    Py_DECREF(cut.replies);
    Py_DECREF(whole.replies);
}
