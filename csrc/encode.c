/* Encodes commands as arrays of bulk strings, by redis-py's rules for each argument type. */
#include "encode.h"

#include "words.h"

#include <string.h>

/* From this size on a bytes or str argument is borrowed instead of copied. */
#define BORROW_FROM (32 * 1024)
/* "$" + 20 digits + CRLF */
#define HEADER_MAX 24

/* One argument as memory: either of the object itself or of a temporary. */
typedef struct {
    const char *data;
    size_t length;
    PyObject *owner; /* a new reference to the bytes object behind `data`, or NULL */
    char digits[24];
} argument_view;

static size_t
format_unsigned(char *end, unsigned long long value)
{
    char *cursor = end;
    do {
        *--cursor = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    return (size_t)(end - cursor);
}

static char *
write_header(char *out, char type, size_t value)
{
    *out++ = type;
    if (value < 10) {
        *out++ = (char)('0' + value);
    } else if (value < 100) {
        *out++ = (char)('0' + value / 10);
        *out++ = (char)('0' + value % 10);
    } else {
        char digits[20];
        size_t count = format_unsigned(digits + sizeof(digits), value);
        memcpy(out, digits + sizeof(digits) - count, count);
        out += count;
    }
    *out++ = '\r';
    *out++ = '\n';
    return out;
}

/* Steals `bytes`, which is NULL when making them failed. */
static int
view_bytes(PyObject *bytes, argument_view *view)
{
    view->owner = bytes;
    if (bytes == NULL) {
        return -1;
    }
    view->data = PyBytes_AS_STRING(bytes);
    view->length = (size_t)PyBytes_GET_SIZE(bytes);
    return 0;
}

static int
view_text(PyObject *text, const ar_text_codec *codec, argument_view *view)
{
    if (codec->encoding == NULL) {
        if (PyUnicode_IS_COMPACT_ASCII(text)) {
            view->data = (const char *)PyUnicode_1BYTE_DATA(text);
            view->length = (size_t)PyUnicode_GET_LENGTH(text);
            return 0;
        }
        if (codec->errors == NULL) {
            Py_ssize_t length = 0;
            view->data = PyUnicode_AsUTF8AndSize(text, &length);
            view->length = (size_t)length;
            return view->data == NULL ? -1 : 0;
        }
    }
    return view_bytes(PyUnicode_AsEncodedString(text, codec->encoding ? codec->encoding : "utf-8",
                                                codec->errors ? codec->errors : "strict"),
                      view);
}

/* Numbers go out as repr() shows them, as with redis-py (also for subclasses). */
static int
view_repr(PyObject *number, argument_view *view)
{
    PyObject *text = PyObject_Repr(number);
    if (text == NULL) {
        return -1;
    }
    PyObject *bytes = PyUnicode_AsUTF8String(text);
    Py_DECREF(text);
    return view_bytes(bytes, view);
}

static int
view_integer(PyObject *number, argument_view *view)
{
    int overflow;
    long long value = PyLong_AsLongLongAndOverflow(number, &overflow);
    if (overflow != 0) {
        return view_repr(number, view);
    }
    if (value == -1 && PyErr_Occurred()) {
        return -1;
    }
    unsigned long long magnitude =
        value < 0 ? 0ULL - (unsigned long long)value : (unsigned long long)value;
    char *end = view->digits + sizeof(view->digits);
    size_t count = format_unsigned(end, magnitude);
    if (value < 0) {
        count++;
        *(end - count) = '-';
    }
    view->data = end - count;
    view->length = count;
    return 0;
}

static int
view_argument(ar_state *state, PyObject *argument, const ar_text_codec *codec, argument_view *view)
{
    view->owner = NULL;
    if (PyUnicode_Check(argument)) {
        return view_text(argument, codec, view);
    }
    if (PyBytes_Check(argument)) {
        view->data = PyBytes_AS_STRING(argument);
        view->length = (size_t)PyBytes_GET_SIZE(argument);
        return 0;
    }
    if (PyLong_CheckExact(argument)) {
        return view_integer(argument, view);
    }
    if (PyByteArray_Check(argument) || PyMemoryView_Check(argument)) {
        return view_bytes(PyBytes_FromObject(argument), view);
    }
    if (PyBool_Check(argument) || !(PyLong_Check(argument) || PyFloat_Check(argument))) {
        ar_error_set_bad_argument(state, argument);
        return -1;
    }
    return view_repr(argument, view);
}

static char *
write_view(char *out, const argument_view *view)
{
    out = write_header(out, '$', view->length);
    memcpy(out, view->data, view->length);
    out += view->length;
    *out++ = '\r';
    *out++ = '\n';
    return out;
}

static int
append_view(ar_outq *queue, PyObject *argument, const argument_view *view)
{
    /* Without an owner of its own the view is of the argument's memory. */
    PyObject *holder = view->owner != NULL ? view->owner : argument;
    if (view->length >= BORROW_FROM &&
        (PyBytes_CheckExact(holder) || PyUnicode_CheckExact(holder))) {
        char *header = ar_outq_reserve(queue, HEADER_MAX);
        if (header == NULL) {
            return -1;
        }
        ar_outq_commit(queue, (size_t)(write_header(header, '$', view->length) - header));
        if (ar_outq_append_borrowed(queue, holder, view->data, view->length) < 0) {
            return -1;
        }
        return ar_outq_append(queue, "\r\n", 2);
    }
    char *start = ar_outq_reserve(queue, HEADER_MAX + view->length + 2);
    if (start == NULL) {
        return -1;
    }
    ar_outq_commit(queue, (size_t)(write_view(start, view) - start));
    return 0;
}

/* redis-py splits names of several words: every str, and bytes with a blank in them. */
static int
is_to_be_split(PyObject *name, const argument_view *view)
{
    if (!PyUnicode_Check(name)) {
        return view->length > 0 && memchr(view->data, ' ', view->length) != NULL;
    }
    for (size_t i = 0; i < view->length; i++) {
        if (ar_word_is_space(view->data[i])) {
            return 1;
        }
    }
    return view->length == 0;
}

static size_t
count_words(const argument_view *view)
{
    const char *cursor = view->data, *end = view->data + view->length;
    size_t words = 0;
    for (Py_ssize_t size; (void)ar_word_next(&cursor, end, &size), size > 0;) {
        words++;
    }
    return words;
}

static int
append_words(ar_outq *queue, const argument_view *view)
{
    const char *cursor = view->data, *end = view->data + view->length;
    for (;;) {
        Py_ssize_t size;
        argument_view word = {.data = ar_word_next(&cursor, end, &size)};
        if (size == 0) {
            return 0;
        }
        word.length = (size_t)size;
        if (append_view(queue, Py_None, &word) < 0) {
            return -1;
        }
    }
}

#define PLAIN_ARGUMENTS 6

/* Most commands: few arguments, none of them large or in need of a temporary, a name of one word. They
 * are written in one go. Returns 0 when this is none of them, -1 with an exception set. */
static int
append_plain(ar_state *state, ar_outq *queue, const ar_text_codec *codec, PyObject *const *argv,
             Py_ssize_t argc)
{
    argument_view views[PLAIN_ARGUMENTS];
    size_t room = HEADER_MAX;
    if (argc > PLAIN_ARGUMENTS || codec->encoding != NULL || !PyUnicode_CheckExact(argv[0]) ||
        !PyUnicode_IS_COMPACT_ASCII(argv[0])) {
        return 0;
    }
    for (Py_ssize_t i = 0; i < argc; i++) {
        if (view_argument(state, argv[i], codec, &views[i]) < 0) {
            return -1;
        }
        if (views[i].owner != NULL) {
            Py_DECREF(views[i].owner);
            return 0;
        }
        room += HEADER_MAX + views[i].length + 2;
    }
    if (room > BORROW_FROM || is_to_be_split(argv[0], &views[0])) {
        return 0;
    }
    char *start = ar_outq_reserve(queue, room);
    if (start == NULL) {
        return -1;
    }
    char *out = write_header(start, '*', (size_t)argc);
    for (Py_ssize_t i = 0; i < argc; i++) {
        out = write_view(out, &views[i]);
    }
    ar_outq_commit(queue, (size_t)(out - start));
    return 1;
}

static void
set_bad_name(ar_state *state, PyObject *name, const char *wanted)
{
    PyErr_Format(state->DataError, "Invalid command name %R: give %s.", name, wanted);
}

static int
append_command(ar_state *state, ar_outq *queue, const ar_text_codec *codec, PyObject *const *argv,
               Py_ssize_t argc)
{
    static const ar_text_codec utf8 = {0}; /* names are never in the user's encoding */
    argument_view name;
    int plain = append_plain(state, queue, codec, argv, argc);
    if (plain != 0) {
        return plain < 0 ? -1 : 0;
    }
    if (PyLong_Check(argv[0]) || PyFloat_Check(argv[0])) {
        set_bad_name(state, argv[0], "a str or bytes");
        return -1;
    }
    if (view_argument(state, argv[0], PyUnicode_Check(argv[0]) ? &utf8 : codec, &name) < 0) {
        return -1;
    }
    int several = is_to_be_split(argv[0], &name);
    size_t words = several ? count_words(&name) : 1;
    if (words == 0) { /* to an empty command there is no reply */
        Py_XDECREF(name.owner);
        set_bad_name(state, argv[0], "at least a word");
        return -1;
    }
    char *header = ar_outq_reserve(queue, HEADER_MAX);
    int failed = header == NULL;
    if (!failed) {
        char *end = write_header(header, '*', words + (size_t)argc - 1);
        ar_outq_commit(queue, (size_t)(end - header));
        failed = (several ? append_words(queue, &name) : append_view(queue, argv[0], &name)) < 0;
    }
    Py_XDECREF(name.owner);
    for (Py_ssize_t i = 1; i < argc && !failed; i++) {
        argument_view view;
        if (view_argument(state, argv[i], codec, &view) < 0) {
            return -1;
        }
        failed = append_view(queue, argv[i], &view) < 0;
        Py_XDECREF(view.owner);
    }
    return failed ? -1 : 0;
}

int
ar_encode_command(ar_state *state, ar_outq *queue, const ar_text_codec *codec,
                  PyObject *const *argv, Py_ssize_t argc)
{
    ar_outq_mark mark = ar_outq_get_mark(queue);
    if (append_command(state, queue, codec, argv, argc) < 0) {
        ar_outq_rollback(queue, mark);
        return -1;
    }
    return 0;
}

PyObject *
ar_encode_settle(ar_state *state, const ar_text_codec *codec, PyObject *argument, int is_name)
{
    static const ar_text_codec utf8 = {0};
    if (is_name && (PyLong_Check(argument) || PyFloat_Check(argument))) {
        set_bad_name(state, argument, "a str or bytes");
        return NULL;
    }
    argument_view view;
    if (view_argument(state, argument, is_name ? &utf8 : codec, &view) < 0) {
        return NULL;
    }
    if (view.owner == NULL || PyFloat_CheckExact(argument)) {
        Py_XDECREF(view.owner);
        return Py_NewRef(argument);
    }
    return view.owner;
}

int
ar_encode_visit(ar_state *state, const ar_text_codec *codec, PyObject *argument,
                void (*visit)(void *context, const char *data, size_t length), void *context)
{
    argument_view view;
    if (view_argument(state, argument, codec, &view) < 0) {
        return -1;
    }
    visit(context, view.data, view.length);
    Py_XDECREF(view.owner);
    return 0;
}
