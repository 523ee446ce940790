/* Counters and latencies by command name. A histogram has eight buckets for each doubling of the microseconds, so
 * that a percentile read from it is at most an eighth too large. */
#include "metrics.h"

#include "lanes.h"

#include <string.h>

#define NAME_LENGTH 32  /* of a command's name; longer ones are counted as OTHER */
#define NAMES_MAX 256   /* names told apart; a user may send anything as a name */
#define ALIASES_MAX 768 /* spellings of them */
#define SUB_BITS 3
#define OCTAVE_MAX 26 /* above 2^26 microseconds, 67 s, there is one bucket */
#define BUCKETS ((OCTAVE_MAX - SUB_BITS + 1) * (1 << SUB_BITS) + 1)

typedef struct {
    PyObject *name; /* upper case */
    uint64_t calls, errors, cancelled, nils, pipelined;
    double seconds, slowest;
    uint64_t buckets[BUCKETS];
} ar_metric;

struct ar_metrics {
    int references;
    PyObject *aliases; /* dict of a name as sent -> index */
    ar_metric **entries;
    Py_ssize_t count, capacity;
    /* List of on_command and on_slow, or None. It has as many references as the metrics, so that each client that
     * shares them shows one to the garbage collector. */
    PyObject *observers;
    double slow_seconds;
};

enum { ON_COMMAND, ON_SLOW, OBSERVERS };

/* Borrowed; NULL: there is none. */
static PyObject *
observer(const ar_metrics *metrics, int number)
{
    PyObject *callback = PyList_GET_ITEM(metrics->observers, number);
    return callback != Py_None ? callback : NULL;
}

/* ---- life ---- */

ar_metrics *
ar_metrics_new(void)
{
    ar_metrics *metrics = PyMem_Calloc(1, sizeof(*metrics));
    if (metrics == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    metrics->references = 1;
    metrics->aliases = PyDict_New();
    metrics->observers = Py_BuildValue("[OO]", Py_None, Py_None);
    if (metrics->aliases == NULL || metrics->observers == NULL) {
        Py_XDECREF(metrics->observers);
        Py_XDECREF(metrics->aliases);
        PyMem_Free(metrics);
        return NULL;
    }
    return metrics;
}

ar_metrics *
ar_metrics_ref(ar_metrics *metrics)
{
    metrics->references++;
    Py_INCREF(metrics->observers);
    return metrics;
}

void
ar_metrics_unref(ar_metrics *metrics)
{
    PyObject *observers = metrics->observers;
    if (--metrics->references > 0) {
        Py_DECREF(observers);
        return;
    }
    for (Py_ssize_t i = 0; i < metrics->count; i++) {
        Py_DECREF(metrics->entries[i]->name);
        PyMem_Free(metrics->entries[i]);
    }
    PyMem_Free(metrics->entries);
    Py_CLEAR(metrics->aliases);
    PyMem_Free(metrics);
    Py_DECREF(observers);
}

int
ar_metrics_traverse(ar_metrics *metrics, visitproc visit, void *arg)
{
    Py_VISIT(metrics->observers);
    return 0;
}

void
ar_metrics_observe(ar_metrics *metrics, PyObject *on_command, PyObject *on_slow,
                   double slow_seconds)
{
    PyObject *callbacks[OBSERVERS] = {on_command, on_slow};
    metrics->slow_seconds = slow_seconds;
    for (int i = 0; i < OBSERVERS; i++) {
        PyObject *old = PyList_GET_ITEM(metrics->observers, i);
        PyList_SET_ITEM(metrics->observers, i,
                        Py_NewRef(callbacks[i] != NULL ? callbacks[i] : Py_None));
        Py_DECREF(old);
    }
}

/* ---- names ---- */

/* In upper case, or OTHER for what cannot be a command's name. */
static PyObject *
label(PyObject *name)
{
    char text[NAME_LENGTH + 1];
    const char *source = NULL;
    Py_ssize_t length = 0;
    if (PyUnicode_CheckExact(name) && PyUnicode_IS_COMPACT_ASCII(name)) {
        source = (const char *)PyUnicode_1BYTE_DATA(name);
        length = PyUnicode_GET_LENGTH(name);
    } else if (PyBytes_CheckExact(name)) {
        source = PyBytes_AS_STRING(name);
        length = PyBytes_GET_SIZE(name);
    }
    if (length == 0 || length > NAME_LENGTH) {
        return PyUnicode_FromString("OTHER");
    }
    for (Py_ssize_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)source[i];
        if (!Py_ISALNUM(c) && (c == '\0' || strchr(" ._-|", c) == NULL)) {
            return PyUnicode_FromString("OTHER");
        }
        text[i] = (char)Py_TOUPPER(c);
    }
    return PyUnicode_FromStringAndSize(text, length);
}

static PyObject *
canonical_name(PyObject *name)
{
    PyObject *shown = ar_lanes_name(name);
    PyObject *result = shown != NULL ? label(shown) : NULL;
    Py_XDECREF(shown);
    return result;
}

static ar_metric *
add_entry(ar_metrics *metrics, PyObject *name)
{
    if (metrics->count == metrics->capacity) {
        Py_ssize_t capacity = metrics->capacity ? metrics->capacity * 2 : 16;
        ar_metric **entries =
            PyMem_Realloc(metrics->entries, (size_t)capacity * sizeof(*metrics->entries));
        if (entries == NULL) {
            PyErr_NoMemory();
            return NULL;
        }
        metrics->entries = entries;
        metrics->capacity = capacity;
    }
    ar_metric *entry = PyMem_Calloc(1, sizeof(*entry));
    if (entry == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    entry->name = Py_NewRef(name);
    metrics->entries[metrics->count++] = entry;
    return entry;
}

static int
set_alias(ar_metrics *metrics, PyObject *alias, Py_ssize_t index)
{
    PyObject *number = PyLong_FromSsize_t(index);
    int result = number == NULL ? -1 : PyDict_SetItem(metrics->aliases, alias, number);
    Py_XDECREF(number);
    return result;
}

/* The entry of a canonical name, made at its first sight. */
static ar_metric *
canonical_entry(ar_metrics *metrics, PyObject *name, Py_ssize_t *index)
{
    PyObject *known = PyDict_GetItemWithError(metrics->aliases, name);
    if (known != NULL) {
        *index = PyLong_AsSsize_t(known);
        return metrics->entries[*index];
    }
    if (PyErr_Occurred()) {
        return NULL;
    }
    ar_metric *entry = add_entry(metrics, name);
    if (entry != NULL) {
        *index = metrics->count - 1;
        if (set_alias(metrics, name, *index) < 0) {
            metrics->count--;
            Py_DECREF(entry->name);
            PyMem_Free(entry);
            return NULL;
        }
    }
    return entry;
}

/* NULL with an exception set. */
static ar_metric *
find_entry(ar_metrics *metrics, PyObject *name)
{
    /* Only exact types: looking them up runs no code of the user's. */
    int plain = PyUnicode_CheckExact(name);
    if (plain) {
        PyObject *known = PyDict_GetItemWithError(metrics->aliases, name);
        if (known != NULL) {
            return metrics->entries[PyLong_AsSsize_t(known)];
        }
        if (PyErr_Occurred()) {
            return NULL;
        }
    }
    PyObject *canonical = metrics->count < NAMES_MAX ? canonical_name(name) : NULL;
    if (canonical == NULL && !PyErr_Occurred()) {
        canonical = PyUnicode_FromString("OTHER");
    }
    if (canonical == NULL) {
        return NULL;
    }
    Py_ssize_t index = 0;
    ar_metric *entry = canonical_entry(metrics, canonical, &index);
    if (entry != NULL && plain && name != canonical &&
        PyDict_GET_SIZE(metrics->aliases) < ALIASES_MAX && set_alias(metrics, name, index) < 0) {
        entry = NULL;
    }
    Py_DECREF(canonical);
    return entry;
}

/* ---- histogram ---- */

static int
bucket_of(double seconds)
{
    double limit = (double)(1ULL << OCTAVE_MAX);
    double micros = seconds * 1e6;
    if (micros >= limit) {
        return BUCKETS - 1;
    }
    uint64_t value = micros > 0.0 ? (uint64_t)micros : 0;
    if (value < (1 << SUB_BITS)) {
        return (int)value;
    }
    int octave = 63 - __builtin_clzll(value);
    int sub = (int)(value >> (octave - SUB_BITS)) & ((1 << SUB_BITS) - 1);
    return ((octave - SUB_BITS + 1) << SUB_BITS) + sub;
}

/* Seconds; what is counted in the bucket lies below. The last one has no bound. */
static double
upper_bound(int bucket)
{
    if (bucket == BUCKETS - 1) {
        return Py_HUGE_VAL;
    }
    if (bucket < (1 << SUB_BITS)) {
        return (bucket + 1) / 1e6;
    }
    int octave = (bucket >> SUB_BITS) + SUB_BITS - 1;
    int sub = bucket & ((1 << SUB_BITS) - 1);
    return (double)(((uint64_t)(1 << SUB_BITS) + (uint64_t)sub + 1) << (octave - SUB_BITS)) / 1e6;
}

/* ---- commands ---- */

int
ar_metrics_created(const ar_metrics *metrics, ArCommand *command)
{
    if (observer(metrics, ON_COMMAND) != NULL) {
        command->context = PyContext_CopyCurrent();
        return command->context == NULL ? -1 : 0;
    }
    return 0;
}

/* Some replies of a pipeline are errors; see ar_batch_convert(). */
static int
batch_has_failed(const ArCommand *command)
{
    PyObject *outcome = command->result;
    return command->batch != NULL && command->status == AR_DONE && outcome != NULL &&
           PyTuple_CheckExact(outcome) && PyTuple_GET_SIZE(outcome) == 3 &&
           PyTuple_GET_ITEM(outcome, 1) == Py_True;
}

static int
count_pipelined(ar_metrics *metrics, const ArQueue *batch)
{
    for (Py_ssize_t i = 0; i < batch->count; i++) {
        ar_metric *entry = find_entry(metrics, *ar_queue_argv(batch, i));
        if (entry == NULL) {
            return -1;
        }
        entry->pipelined++;
    }
    return 0;
}

/* The first argument, mostly the key; none for AUTH, HELLO and their like. */
static PyObject *
first_argument(const ArCommand *command)
{
    if (command->argc < 2 || (command->properties & AR_STATEFUL) ||
        !(PyUnicode_CheckExact(command->argv[1]) || PyBytes_CheckExact(command->argv[1]))) {
        return Py_None;
    }
    return command->argv[1];
}

/* The callback is called in a later turn, when no command is between two states. Making the record may run
 * finalizers, which may cancel the command or replace the callback: what it is made of is held. */
static int
tell(const ArCommand *command, PyObject *callback, PyObject *context, PyObject *name,
     const char *outcome, double ended, double seconds, PyObject *exception)
{
    Py_ssize_t size = command->batch != NULL ? command->batch->count : 0;
    PyObject *argument = Py_NewRef(first_argument(command));
    PyObject *where = Py_XNewRef(context);
    Py_INCREF(callback);
    PyObject *record = Py_BuildValue("(OOnddsO)", name, argument, size, seconds, ended, outcome,
                                     exception != NULL ? exception : Py_None);
    int result = -1;
    if (where == NULL) {
        where = PyContext_CopyCurrent();
    }
    if (record != NULL && where != NULL) {
        result = ar_core_schedule_callback(command->core, callback, record, where);
    }
    Py_XDECREF(where);
    Py_XDECREF(record);
    Py_DECREF(argument);
    Py_DECREF(callback);
    return result;
}

static int
record_command(ar_metrics *metrics, ArCommand *command, double started, PyObject *exception)
{
    double ended = ar_monotonic();
    double seconds = ended > started ? ended - started : 0.0;
    if (command->argc == 0) {
        return 0;
    }
    ar_metric *entry = find_entry(metrics, command->argv[0]);
    if (entry == NULL || (command->batch != NULL && count_pipelined(metrics, command->batch) < 0)) {
        return -1;
    }
    int failed = exception != NULL || batch_has_failed(command);
    int cancelled = !failed && command->status == AR_CANCELLED;
    entry->calls++;
    entry->errors += (uint64_t)failed;
    entry->cancelled += (uint64_t)cancelled;
    entry->nils += !failed && !cancelled && command->result == Py_None;
    entry->seconds += seconds;
    entry->slowest = seconds > entry->slowest ? seconds : entry->slowest;
    entry->buckets[bucket_of(seconds)]++;
    if (command->core == NULL) {
        return 0;
    }
    const char *outcome = failed ? "error" : cancelled ? "cancelled" : "ok";
    PyObject *on_command = observer(metrics, ON_COMMAND);
    if (command->context != NULL && on_command != NULL &&
        tell(command, on_command, command->context, entry->name, outcome, ended, seconds,
             exception) < 0) {
        return -1;
    }
    PyObject *on_slow = observer(metrics, ON_SLOW);
    if (on_slow != NULL && seconds >= metrics->slow_seconds) {
        return tell(command, on_slow, NULL, entry->name, outcome, ended, seconds, exception);
    }
    return 0;
}

void
ar_metrics_finished(ar_metrics *metrics, ArCommand *command, double started, PyObject *exception)
{
    ar_metrics_ref(metrics); /* it may be replaced while a callback is being scheduled */
    if (record_command(metrics, command, started, exception) < 0) {
        PyErr_Clear(); /* no memory, or the loop is closed: a command is not to fail for that */
    }
    ar_metrics_unref(metrics);
}

/* ---- reading ---- */

static PyObject *
histogram(const ar_metric *entry)
{
    PyObject *buckets = PyList_New(0);
    for (int i = 0; buckets != NULL && i < BUCKETS; i++) {
        if (entry->buckets[i] == 0) {
            continue;
        }
        PyObject *pair =
            Py_BuildValue("(dK)", upper_bound(i), (unsigned long long)entry->buckets[i]);
        if (pair == NULL || PyList_Append(buckets, pair) < 0) {
            Py_CLEAR(buckets);
        }
        Py_XDECREF(pair);
    }
    return buckets;
}

PyObject *
ar_metrics_as_dict(const ar_metrics *metrics)
{
    PyObject *found = PyDict_New();
    for (Py_ssize_t i = 0; found != NULL && i < metrics->count; i++) {
        const ar_metric *entry = metrics->entries[i];
        PyObject *values = Py_BuildValue(
            "(KKKKKddN)", (unsigned long long)entry->calls, (unsigned long long)entry->errors,
            (unsigned long long)entry->cancelled, (unsigned long long)entry->nils,
            (unsigned long long)entry->pipelined, entry->seconds, entry->slowest, histogram(entry));
        if (values == NULL || PyDict_SetItem(found, entry->name, values) < 0) {
            Py_CLEAR(found);
        }
        Py_XDECREF(values);
    }
    return found;
}
