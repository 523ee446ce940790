/* Queues, encodes and hands out the commands of a pipeline. */
#include "queue.h"

#include <string.h>

#define FIRST_CAPACITY 16
#define ARGUMENTS_PER_COMMAND 3

static int
queue_traverse(ArQueue *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    for (Py_ssize_t i = 0; i < self->argument_count; i++) {
        Py_VISIT(self->arguments[i]);
    }
    for (Py_ssize_t i = 0; i < self->count; i++) {
        Py_VISIT(self->commands[i].options);
    }
    return 0;
}

static int
queue_clear(ArQueue *self)
{
    ar_queued *commands = self->commands;
    PyObject **arguments = self->arguments;
    Py_ssize_t count = self->count, argument_count = self->argument_count;
    self->commands = NULL;
    self->arguments = NULL;
    self->count = self->capacity = self->argument_count = self->argument_capacity = 0;
    for (Py_ssize_t i = 0; i < argument_count; i++) {
        Py_DECREF(arguments[i]);
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        Py_XDECREF(commands[i].options);
    }
    PyMem_Free(arguments);
    PyMem_Free(commands);
    return 0;
}

static void
queue_dealloc(ArQueue *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    (void)queue_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

ArQueue *
ar_queue_new(ar_state *state)
{
    ArQueue *queue = (ArQueue *)state->QueueType->tp_alloc(state->QueueType, 0);
    if (queue != NULL) {
        queue->state = state;
        queue->all = UINT8_MAX;
    }
    return queue;
}

/* ---- adding ---- */

/* Room for `more` further items of `size` bytes; returns the array, or NULL with MemoryError set. */
static void *
grow(void *items, Py_ssize_t *capacity, Py_ssize_t used, Py_ssize_t more, size_t size)
{
    if (more <= *capacity - used) {
        return items;
    }
    Py_ssize_t wanted = *capacity > 0 ? 2 * *capacity : FIRST_CAPACITY;
    if (wanted - used < more) {
        wanted = used + more;
    }
    void *grown = PyMem_Realloc(items, (size_t)wanted * size);
    if (grown == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    *capacity = wanted;
    return grown;
}

static int
reserve(ArQueue *queue, Py_ssize_t commands, Py_ssize_t arguments)
{
    ar_queued *grown =
        grow(queue->commands, &queue->capacity, queue->count, commands, sizeof(*grown));
    if (grown == NULL) {
        return -1;
    }
    queue->commands = grown;
    if (queue->argument_capacity == 0 && arguments < FIRST_CAPACITY * ARGUMENTS_PER_COMMAND) {
        arguments = FIRST_CAPACITY * ARGUMENTS_PER_COMMAND;
    }
    PyObject **more = grow(queue->arguments, &queue->argument_capacity, queue->argument_count,
                           arguments, sizeof(*more));
    if (more == NULL) {
        return -1;
    }
    queue->arguments = more;
    return 0;
}

int
ar_queue_is_himport(PyObject *name)
{
    static const char word[] = "HIMPORT";
    Py_ssize_t length = sizeof(word) - 1;
    if (!PyUnicode_Check(name) || !PyUnicode_IS_COMPACT_ASCII(name) ||
        PyUnicode_GET_LENGTH(name) < length) {
        return 0;
    }
    const char *text = (const char *)PyUnicode_1BYTE_DATA(name);
    for (Py_ssize_t i = 0; i < length; i++) {
        if (Py_TOUPPER((unsigned char)text[i]) != word[i]) {
            return 0;
        }
    }
    return 1;
}

static int
note_options(ArQueue *queue, PyObject *options)
{
    int empty = PyDict_Contains(options, queue->state->str_EMPTY_RESPONSE);
    int binary = PyDict_Contains(options, queue->state->str_NEVER_DECODE);
    if (empty < 0 || binary < 0) {
        return -1;
    }
    queue->empty_response |= empty;
    queue->never_decode |= binary;
    return 0;
}

int
ar_queue_append(ArQueue *queue, PyObject *name, PyObject *const *rest, Py_ssize_t rest_count,
                PyObject *options, uint8_t properties)
{
    if (options != NULL && PyDict_GET_SIZE(options) == 0) {
        options = NULL;
    }
    if ((options != NULL && note_options(queue, options) < 0) ||
        reserve(queue, 1, rest_count + 1) < 0) {
        return -1;
    }
    PyObject **argv = queue->arguments + queue->argument_count;
    ar_arguments_fill(argv, name, rest, rest_count);
    queue->argument_count += rest_count + 1;
    queue->commands[queue->count++] = (ar_queued){
        .end = queue->argument_count, .options = Py_XNewRef(options), .properties = properties};
    queue->all &= properties;
    queue->any |= properties;
    queue->himport |= ar_queue_is_himport(name);
    queue->plain = 0;
    return 0;
}

ArQueue *
ar_queue_copy(const ArQueue *queue)
{
    ArQueue *copy = ar_queue_new(queue->state);
    if (copy == NULL || reserve(copy, queue->count + 1, queue->argument_count + 1) < 0) {
        Py_XDECREF(copy);
        return NULL;
    }
    for (Py_ssize_t i = 0; i < queue->argument_count; i++) {
        copy->arguments[i] = Py_NewRef(queue->arguments[i]);
    }
    for (Py_ssize_t i = 0; i < queue->count; i++) {
        copy->commands[i] = queue->commands[i];
        Py_XINCREF(copy->commands[i].options);
    }
    copy->argument_count = queue->argument_count;
    copy->count = queue->count;
    copy->all = queue->all;
    copy->any = queue->any;
    copy->himport = queue->himport;
    copy->empty_response = queue->empty_response;
    copy->never_decode = queue->never_decode;
    return copy;
}

ArQueue *
ar_queue_pick(const ArQueue *queue, const Py_ssize_t *numbers, Py_ssize_t count)
{
    Py_ssize_t arguments = 0;
    for (Py_ssize_t i = 0; i < count; i++) {
        arguments += ar_queue_argc(queue, numbers[i]);
    }
    ArQueue *picked = ar_queue_new(queue->state);
    if (picked == NULL || reserve(picked, count, arguments) < 0) {
        Py_XDECREF(picked);
        return NULL;
    }
    PyObject **into = picked->arguments;
    for (Py_ssize_t i = 0; i < count; i++) {
        const ar_queued *command = &queue->commands[numbers[i]];
        for (PyObject **argument = ar_queue_argv(queue, numbers[i]);
             argument != queue->arguments + command->end; argument++) {
            *into++ = Py_NewRef(*argument);
        }
        picked->commands[i] = (ar_queued){.end = into - picked->arguments,
                                          .options = Py_XNewRef(command->options),
                                          .properties = command->properties};
        picked->all &= command->properties;
        picked->any |= command->properties;
    }
    picked->argument_count = arguments;
    picked->count = count;
    /* Of the whole: they are looked at only where a command has options, or a certain name. */
    picked->himport = queue->himport;
    picked->empty_response = queue->empty_response;
    picked->never_decode = queue->never_decode;
    picked->plain = queue->plain;
    return picked;
}

/* ---- use ---- */

int
ar_queue_never_decodes(const ArQueue *queue, Py_ssize_t number)
{
    if (!queue->never_decode || number >= queue->count) {
        return 0;
    }
    PyObject *options = queue->commands[number].options;
    if (options == NULL) {
        return 0;
    }
    int found = PyDict_Contains(options, queue->state->str_NEVER_DECODE);
    if (found < 0) {
        PyErr_Clear(); /* only a key of the user's own whose comparison raises */
    }
    return found > 0;
}

static int
encode_all(const ArQueue *queue, ar_outq *out, const ar_text_codec *codec, int transaction)
{
    static const char multi[] = "*1\r\n$5\r\nMULTI\r\n", exec[] = "*1\r\n$4\r\nEXEC\r\n";
    if (transaction && ar_outq_append(out, multi, sizeof(multi) - 1) < 0) {
        return -1;
    }
    PyObject **argv = queue->arguments;
    for (Py_ssize_t i = 0; i < queue->count; i++) {
        PyObject **next = queue->arguments + queue->commands[i].end;
        if (ar_encode_command(queue->state, out, codec, argv, next - argv) < 0) {
            return -1;
        }
        argv = next;
    }
    return transaction ? ar_outq_append(out, exec, sizeof(exec) - 1) : 0;
}

int
ar_queue_encode(const ArQueue *queue, ar_outq *out, const ar_text_codec *codec, int transaction)
{
    ar_outq_mark mark = ar_outq_get_mark(out);
    if (encode_all(queue, out, codec, transaction) < 0) {
        ar_outq_rollback(out, mark);
        return -1;
    }
    return 0;
}

static int
all_plain(const ArQueue *queue)
{
    PyObject *const *end = queue->arguments + queue->argument_count;
    for (PyObject *const *argument = queue->arguments; argument != end; argument++) {
        if (!ar_encode_is_plain(*argument)) {
            return 0;
        }
    }
    return 1;
}

/* Queues may be shared, so another one gets what differs. */
ArQueue *
ar_queue_settle(ArQueue *queue, const ar_text_codec *codec)
{
    Py_INCREF(queue); /* nobody else changes it now: see own_queue() in pipeline.c */
    queue->plain = queue->plain || all_plain(queue);
    if (codec->encoding == NULL && queue->plain) {
        return queue;
    }
    ArQueue *settled = queue;
    Py_ssize_t number = 0, name = 0; /* of the command, and where its name is */
    for (Py_ssize_t i = 0; i < queue->argument_count; i++) {
        PyObject *argument = queue->arguments[i];
        PyObject *other = ar_encode_settle(queue->state, codec, argument, i == name);
        if (other == NULL) {
            goto error;
        }
        if (i + 1 == queue->commands[number].end) {
            name = queue->commands[number++].end;
        }
        if (other == argument) {
            Py_DECREF(other);
            continue;
        }
        if (settled == queue && (settled = ar_queue_copy(queue)) == NULL) {
            settled = queue;
            Py_DECREF(other);
            goto error;
        }
        Py_SETREF(settled->arguments[i], other);
    }
    if (settled != queue) {
        Py_DECREF(queue);
    }
    return settled;

error:
    if (settled != queue) {
        Py_DECREF(settled);
    }
    Py_DECREF(queue);
    return NULL;
}

PyObject *
ar_queue_as_list(const ArQueue *queue)
{
    PyObject *list = PyList_New(queue->count);
    for (Py_ssize_t i = 0; list != NULL && i < queue->count; i++) {
        PyObject *options = queue->commands[i].options;
        PyObject **argv = ar_queue_argv(queue, i);
        Py_ssize_t argc = ar_queue_argc(queue, i);
        PyObject *arguments = PyTuple_New(argc);
        for (Py_ssize_t k = 0; arguments != NULL && k < argc; k++) {
            PyTuple_SET_ITEM(arguments, k, Py_NewRef(argv[k]));
        }
        options = options != NULL ? Py_NewRef(options) : PyDict_New();
        PyObject *entry =
            arguments != NULL && options != NULL ? PyTuple_Pack(2, arguments, options) : NULL;
        Py_XDECREF(arguments);
        Py_XDECREF(options);
        if (entry == NULL) {
            Py_CLEAR(list);
        } else {
            PyList_SET_ITEM(list, i, entry);
        }
    }
    return list;
}

/* ---- the type ---- */

static Py_ssize_t
queue_length(ArQueue *self)
{
    return self->count;
}

static PyObject *
queue_stack(ArQueue *self, PyObject *Py_UNUSED(ignored))
{
    return ar_queue_as_list(self);
}

static PyMethodDef queue_methods[] = {
    {"stack", (PyCFunction)queue_stack, METH_NOARGS,
     "stack($self, /)\n--\n\nThe commands as redis-py's list of (arguments, options)."},
    {NULL},
};

static PyObject *
queue_get_himport(ArQueue *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(self->himport);
}

static PyObject *
queue_get_empty_response(ArQueue *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(self->empty_response);
}

static PyGetSetDef queue_getset[] = {
    {"himport", (getter)queue_get_himport, NULL, "HIMPORT is among the commands.", NULL},
    {"empty_response", (getter)queue_get_empty_response, NULL,
     "A command has redis-py's option EMPTY_RESPONSE.", NULL},
    {NULL},
};

static PyType_Slot queue_slots[] = {
    {Py_tp_doc, (void *)"Commands queued by a pipeline."},
    {Py_tp_dealloc, queue_dealloc},
    {Py_tp_traverse, queue_traverse},
    {Py_tp_clear, queue_clear},
    {Py_sq_length, queue_length},
    {Py_tp_methods, queue_methods},
    {Py_tp_getset, queue_getset},
    {0, NULL},
};

static PyType_Spec queue_spec = {
    .name = "aiecs_redis._native.CommandQueue",
    .basicsize = sizeof(ArQueue),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = queue_slots,
};

int
ar_queue_setup(PyObject *module, ar_state *state)
{
    state->QueueType = (PyTypeObject *)PyType_FromModuleAndSpec(module, &queue_spec, NULL);
    if (state->QueueType == NULL) {
        return -1;
    }
    return PyModule_AddObjectRef(module, "CommandQueue", (PyObject *)state->QueueType);
}
