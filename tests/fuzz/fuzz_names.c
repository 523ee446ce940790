/* Fuzzes what is known of a command by its name: however a name and its arguments are spelled, ("CLIENT LIST") or
 * ("CLIENT", "LIST"), what the server sees is the same, and so must be what we make of it.
 *
 * Input: one byte of options, then words, each ended by a NUL; some of them are the name, in one string. A word
 * behind the name that begins with '#' is an integer. */
#include "harness.h"

#include "keyslot.h"
#include "keyspec.h"
#include "lanes.h"

enum { TEXT = 1, INTERNED = 2, TABS = 16, NAME_WORDS = 5 /* the bits above it */ };
enum { WORDS_MAX = 24 };

typedef struct {
    PyObject *argv[2 * WORDS_MAX];
    Py_ssize_t argc;
} spelling;

static void
add(spelling *self, PyObject *argument)
{
    self->argv[self->argc++] = harness_need(argument);
}

static void
forget(spelling *self)
{
    while (self->argc > 0) {
        Py_DECREF(self->argv[--self->argc]);
    }
}

static PyObject *
as_name(PyObject *bytes, uint8_t options)
{
    if (!(options & TEXT)) {
        return Py_NewRef(bytes);
    }
    PyObject *text = harness_need(
        PyUnicode_DecodeUTF8(PyBytes_AS_STRING(bytes), PyBytes_GET_SIZE(bytes), "replace"));
    if (options & INTERNED) {
        PyUnicode_InternInPlace(&text);
    }
    return text;
}

static PyObject *
argument_of(const char *text, size_t length, uint8_t options)
{
    if (length > 1 && length < 24 && text[0] == '#') {
        char digits[24] = {0};
        memcpy(digits, text + 1, length - 1);
        return PyLong_FromLong(strtol(digits, NULL, 10));
    }
    PyObject *bytes = harness_need(PyBytes_FromStringAndSize(text, (Py_ssize_t)length));
    PyObject *value = as_name(bytes, options);
    Py_DECREF(bytes);
    return value;
}

/* The words of a name as Python splits it. */
static void
add_words(spelling *self, PyObject *name, uint8_t options)
{
    PyObject *bytes = PyUnicode_Check(name) ? PyUnicode_AsUTF8String(name) : Py_NewRef(name);
    harness_need(bytes);
    if (!PyUnicode_Check(name) && strchr(PyBytes_AS_STRING(bytes), ' ') == NULL) {
        add(self, bytes);
        return;
    }
    PyObject *words = harness_split(bytes);
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(words) && i < WORDS_MAX; i++) {
        add(self, as_name(PyList_GET_ITEM(words, i), options));
    }
    Py_DECREF(words);
    Py_DECREF(bytes);
}

static PyObject *
encoded(const spelling *self)
{
    static const ar_text_codec utf8 = {0};
    ar_outq queue = {0};
    PyObject *out = NULL;
    if (ar_encode_command(&harness_state, &queue, &utf8, self->argv, self->argc) == 0) {
        out = harness_need(PyBytes_FromStringAndSize(NULL, 0));
        for (const ar_chunk *chunk = queue.head; chunk != NULL; chunk = chunk->next) {
            PyBytes_ConcatAndDel(&out,
                                 PyBytes_FromStringAndSize(chunk->data, (Py_ssize_t)chunk->length));
        }
    }
    PyErr_Clear();
    ar_outq_clear(&queue);
    return out;
}

static void
check_properties(const spelling *joined, const spelling *apart)
{
    /* What is known of one word by word must not be forgotten in the other, and nothing allowed besides. */
    const uint8_t grave = AR_BLOCKING | AR_STATEFUL | AR_SECRET, allowed = AR_REPLAYABLE | AR_READ;
    uint8_t one = ar_lanes_properties(joined->argv, joined->argc);
    uint8_t other = ar_lanes_properties(apart->argv, apart->argc);
    if ((other & grave & ~one) || (one & allowed & ~other)) {
        fprintf(stderr, "%#x in one string, %#x word by word\n", one, other);
        harness_fail("other properties");
    }
    double seconds = ar_lanes_block_seconds(joined->argv, joined->argc);
    if (seconds >= 0.0 && seconds != ar_lanes_block_seconds(apart->argv, apart->argc)) {
        harness_fail("another time of blocking");
    }
}

static void
check_shown(const spelling *joined)
{
    PyObject *shown = harness_need(ar_lanes_name(joined->argv[0]));
    /* As bytes: of a str more than blanks would be taken for one. */
    PyObject *bytes = PyUnicode_Check(shown) ? PyUnicode_AsEncodedString(shown, "utf-8", "replace")
                                             : Py_NewRef(shown);
    PyObject *words = harness_split(harness_need(bytes));
    Py_DECREF(bytes);
    if (shown != joined->argv[0] && PyList_GET_SIZE(words) > 2) {
        harness_fail("arguments are shown");
    }
    Py_DECREF(words);
    Py_DECREF(shown);
}

/* The arguments that are keys. */
static Py_ssize_t
find_keys(const spelling *self, PyObject **found)
{
    ar_keys keys;
    Py_ssize_t rest = self->argc - 1, count = 0;
    if (!ar_keyspec_find(&harness_state, self->argv[0], self->argv + 1, rest, &keys)) {
        return -1;
    }
    for (Py_ssize_t i = ar_keys_first(&keys); i >= 0; i = ar_keys_next(&keys, i)) {
        if (i >= rest || count == 2 * WORDS_MAX) {
            harness_fail("a key behind the end");
        }
        found[count++] = self->argv[1 + i];
    }
    if (count == 0) {
        harness_fail("keys, and none");
    }
    return count;
}

static void
check_keys(const spelling *joined, const spelling *apart)
{
    PyObject *one[2 * WORDS_MAX], *other[2 * WORDS_MAX];
    Py_ssize_t count = find_keys(joined, one);
    if (count < 0) { /* redis-py is asked then */
        (void)find_keys(apart, other);
    } else if (find_keys(apart, other) != count ||
               memcmp(one, other, (size_t)count * sizeof(*one)) != 0) {
        harness_fail("other keys");
    }
}

static unsigned
slot_bit_by_bit(const char *key, size_t length)
{
    unsigned crc = 0;
    for (size_t i = 0; i < length; i++) {
        crc ^= (unsigned)(unsigned char)key[i] << 8;
        for (int bit = 0; bit < 8; bit++) {
            crc = crc & 0x8000 ? (crc << 1) ^ 0x1021 : crc << 1;
        }
    }
    return crc % 16384;
}

static void
check_slot(const char *key, size_t length)
{
    const char *open = memchr(key, '{', length), *close = NULL;
    if (open != NULL) {
        close = memchr(open, '}', length - (size_t)(open - key));
    }
    int tagged = close != NULL && close - open > 1;
    unsigned expected = tagged ? slot_bit_by_bit(open + 1, (size_t)(close - open - 1))
                               : slot_bit_by_bit(key, length);
    if (ar_keyslot(key, length) != expected) {
        harness_fail("another slot");
    }
}

static void
once(const uint8_t *data, size_t size)
{
    uint8_t options = data[0];
    const char *at = (const char *)data + 1, *end = (const char *)data + size;
    PyObject *name = harness_need(PyBytes_FromStringAndSize(NULL, 0));
    spelling rest = {0}, joined = {0}, apart = {0};
    for (int count = 0; at < end && count < WORDS_MAX; count++) {
        const char *stop = memchr(at, '\0', (size_t)(end - at));
        size_t length = (size_t)((stop != NULL ? stop : end) - at);
        check_slot(at, length);
        if (count > options >> NAME_WORDS) {
            add(&rest, argument_of(at, length, options));
        } else {
            if (count > 0) {
                PyBytes_ConcatAndDel(&name, PyBytes_FromString(options & TABS ? "\t " : " "));
            }
            PyBytes_ConcatAndDel(&name, PyBytes_FromStringAndSize(at, (Py_ssize_t)length));
            harness_need(name);
        }
        at += length + 1;
    }
    add(&joined, as_name(name, options));
    add_words(&apart, joined.argv[0], options);
    Py_DECREF(name);
    PyObject *one = NULL, *other = NULL;
    if (apart.argc == WORDS_MAX) { /* there may be more of them */
        goto done;
    }
    for (Py_ssize_t i = 0; i < rest.argc; i++) {
        add(&joined, Py_NewRef(rest.argv[i]));
        if (apart.argc > 0) {
            add(&apart, Py_NewRef(rest.argv[i]));
        }
    }
    one = encoded(&joined);
    other = apart.argc > 0 ? encoded(&apart) : NULL;
    if ((one == NULL) != (other == NULL) ||
        (one != NULL && PyObject_RichCompareBool(one, other, Py_EQ) != 1)) {
        harness_fail("the server would see something else");
    }
    check_shown(&joined);
    if (one != NULL) {
        check_properties(&joined, &apart);
        check_keys(&joined, &apart);
    }
    if (PyErr_Occurred()) {
        harness_fail("an exception is left behind");
    }
done:
    Py_XDECREF(one);
    Py_XDECREF(other);
    forget(&rest);
    forget(&joined);
    forget(&apart);
}
