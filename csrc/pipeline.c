/* Queues commands without a Python frame or object for each. */
#include "pipeline.h"

#include "batch.h"
#include "hot.h"
#include "lanes.h"

typedef struct {
    ArTarget target;
    /* The commands are in one of these. Python code that asks for command_stack gets a list, which is
     * the queue from then on. */
    ArQueue *queue;  /* NULL: empty */
    PyObject *stack; /* redis-py's list of (arguments, options), or whatever was set; or NULL */
    int watching;
} ArPipeline;

static int
pipeline_traverse(ArPipeline *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->queue);
    Py_VISIT(self->stack);
    return ar_target_traverse(&self->target, visit, arg);
}

static int
pipeline_clear(ArPipeline *self)
{
    Py_CLEAR(self->queue);
    Py_CLEAR(self->stack);
    ar_target_clear(&self->target);
    return 0;
}

static void
pipeline_dealloc(ArPipeline *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    (void)pipeline_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

/* ---- queueing ---- */

static int
append_entry(PyObject *stack, PyObject *name, PyObject *const *rest, Py_ssize_t rest_count,
             PyObject *options)
{
    PyObject *entry = NULL, *keywords = NULL;
    PyObject *arguments = PyTuple_New(rest_count + 1);
    if (arguments == NULL) {
        return -1;
    }
    PyTuple_SET_ITEM(arguments, 0, Py_NewRef(name));
    for (Py_ssize_t i = 0; i < rest_count; i++) {
        PyTuple_SET_ITEM(arguments, i + 1, Py_NewRef(rest[i]));
    }
    keywords = options != NULL ? Py_NewRef(options) : PyDict_New();
    if (keywords != NULL) {
        entry = PyTuple_Pack(2, arguments, keywords);
    }
    int result = entry != NULL ? PyList_Append(stack, entry) : -1;
    Py_XDECREF(entry);
    Py_XDECREF(keywords);
    Py_DECREF(arguments);
    return result;
}

/* The queue to append to: not one that is being sent. */
static ArQueue *
own_queue(ArPipeline *self)
{
    if (self->queue == NULL) {
        self->queue = ar_queue_new(self->target.state);
    } else if (Py_REFCNT(self->queue) > 1) {
        ArQueue *copy = ar_queue_copy(self->queue);
        if (copy == NULL) {
            return NULL;
        }
        Py_SETREF(self->queue, copy);
    }
    return self->queue;
}

static PyObject *
pipeline_dispatch(ArTarget *target, PyObject *name, PyObject *const *rest, Py_ssize_t rest_count,
                  PyObject *options, uint8_t properties)
{
    ArPipeline *self = (ArPipeline *)target;
    int result;
    if (self->stack != NULL) {
        result = append_entry(self->stack, name, rest, rest_count, options);
    } else {
        ArQueue *queue = own_queue(self);
        result = queue != NULL ? ar_queue_append(queue, name, rest, rest_count, options, properties)
                               : -1;
    }
    return result < 0 ? NULL : ar_target_subject(&self->target);
}

static PyObject *
pipeline_execute_command(ArPipeline *self, PyObject *const *args, Py_ssize_t nargs,
                         PyObject *kwnames)
{
    if (nargs == 0 || (self->stack != NULL && !PyList_CheckExact(self->stack))) {
        return ar_target_fall_back(&self->target, self->target.state->str_pipeline_execute_command,
                                   args, nargs, kwnames);
    }
    PyObject *options = NULL;
    Py_ssize_t keywords = kwnames != NULL ? PyTuple_GET_SIZE(kwnames) : 0;
    if (keywords > 0 && (options = PyDict_New()) == NULL) {
        return NULL;
    }
    for (Py_ssize_t i = 0; i < keywords; i++) {
        if (PyDict_SetItem(options, PyTuple_GET_ITEM(kwnames, i), args[nargs + i]) < 0) {
            Py_DECREF(options);
            return NULL;
        }
    }
    PyObject *result = pipeline_dispatch(&self->target, args[0], args + 1, nargs - 1, options,
                                         ar_lanes_properties(args, nargs));
    Py_XDECREF(options);
    return result;
}

/* ---- the queue as Python sees it ---- */

static void
update_diverted(ArPipeline *self)
{
    self->target.diverted =
        self->watching || (self->stack != NULL && !PyList_CheckExact(self->stack));
}

static PyObject *
pipeline_get_stack(ArPipeline *self, void *Py_UNUSED(closure))
{
    if (self->stack == NULL) {
        self->stack = self->queue != NULL ? ar_queue_as_list(self->queue) : PyList_New(0);
        if (self->stack != NULL) {
            Py_CLEAR(self->queue);
        }
    }
    return Py_XNewRef(self->stack);
}

static int
pipeline_set_stack(ArPipeline *self, PyObject *value, void *Py_UNUSED(closure))
{
    if (value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "command_stack cannot be deleted");
        return -1;
    }
    Py_CLEAR(self->queue);
    Py_XSETREF(self->stack, Py_NewRef(value));
    update_diverted(self);
    return 0;
}

static Py_ssize_t
pipeline_length(ArPipeline *self)
{
    if (self->stack != NULL) {
        return PyObject_Size(self->stack);
    }
    return self->queue != NULL ? self->queue->count : 0;
}

/* What is queued now; it does not change when further commands are queued. */
static PyObject *
pipeline_queued(ArPipeline *self, PyObject *Py_UNUSED(ignored))
{
    ar_state *state = self->target.state;
    if (self->stack == NULL) {
        if (self->queue == NULL) {
            self->queue = ar_queue_new(state);
        }
        return Py_XNewRef((PyObject *)self->queue);
    }
    PyObject *list = PySequence_List(self->stack);
    if (list == NULL) {
        return NULL;
    }
    ArQueue *queue = ar_batch_queue(state, list);
    Py_DECREF(list);
    return (PyObject *)queue;
}

static PyObject *
pipeline_forget(ArPipeline *self, PyObject *Py_UNUSED(ignored))
{
    Py_CLEAR(self->queue);
    Py_CLEAR(self->stack);
    update_diverted(self);
    Py_RETURN_NONE;
}

static PyObject *
pipeline_native_face(ArPipeline *self, PyObject *args)
{
    PyObject *face, *python_class, *method;
    if (!PyArg_ParseTuple(args, "OO!O:_native_face", &face, &PyType_Type, &python_class, &method) ||
        ar_target_set_face(&self->target, face, python_class, method) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyMethodDef pipeline_methods[] = {
    {"_native_face", (PyCFunction)pipeline_native_face, METH_VARARGS,
     "_native_face($self, face, python_class, method, /)\n--\n\nThe methods are those of `face` "
     "(not "
     "held),\n"
     "which they return, and fall back to those of `python_class`."},
    {"pipeline_execute_command", (PyCFunction)(void (*)(void))pipeline_execute_command,
     METH_FASTCALL | METH_KEYWORDS,
     "pipeline_execute_command($self, /, *args, **options)\n--\n\nQueue a command."},
    {"_queued", (PyCFunction)pipeline_queued, METH_NOARGS,
     "_queued($self, /)\n--\n\nThe commands queued so far, as a CommandQueue."},
    {"_forget", (PyCFunction)pipeline_forget, METH_NOARGS,
     "_forget($self, /)\n--\n\nDrop all queued commands."},
    {NULL},
};

static PyGetSetDef pipeline_getset[] = {
    {"command_stack", (getter)pipeline_get_stack, (setter)pipeline_set_stack,
     "The queued commands: a list of (arguments, options).", NULL},
    {NULL},
};

/* ---- the type ---- */

static PyObject *
pipeline_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    ar_state *state = ar_state_of_type(type);
    if (state == NULL) {
        return NULL;
    }
    ArPipeline *self = (ArPipeline *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->target.state = state;
    self->target.dispatch = pipeline_dispatch;
    self->target.python_class = state->python_pipeline;
    self->target.native_method =
        PyObject_GetAttrString((PyObject *)type, "_queueing_execute_command");
    if (self->target.native_method == NULL || ar_target_check_override(&self->target) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

/* While it watches, commands are executed at once: then redis-py's own methods are right. */
static int
pipeline_setattro(ArPipeline *self, PyObject *name, PyObject *value)
{
    ar_state *state = self->target.state;
    if (PyObject_GenericSetAttr((PyObject *)self, name, value) < 0) {
        return -1;
    }
    if (PyUnicode_Compare(name, state->str_watching) == 0) {
        int watching = value != NULL ? PyObject_IsTrue(value) : 0;
        if (watching < 0) {
            return -1;
        }
        self->watching = watching;
        update_diverted(self);
    } else if (PyUnicode_Compare(name, state->str_execute_command) == 0) {
        return ar_target_check_override(&self->target);
    }
    return 0;
}

static PyType_Slot pipeline_slots[] = {
    {Py_tp_doc, (void *)"The native half of aiecs_redis.Pipeline."},
    {Py_tp_new, pipeline_new},
    {Py_tp_dealloc, pipeline_dealloc},
    {Py_tp_traverse, pipeline_traverse},
    {Py_tp_clear, pipeline_clear},
    {Py_tp_setattro, pipeline_setattro},
    {Py_sq_length, pipeline_length},
    {Py_tp_methods, pipeline_methods},
    {Py_tp_getset, pipeline_getset},
    {0, NULL},
};

static PyType_Spec pipeline_spec = {
    .name = "aiecs_redis._native.Pipeline",
    .basicsize = sizeof(ArPipeline),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = pipeline_slots,
};

int
ar_pipeline_setup(PyObject *module, ar_state *state)
{
    state->PipelineType = (PyTypeObject *)PyType_FromModuleAndSpec(module, &pipeline_spec, NULL);
    if (state->PipelineType == NULL || ar_hot_add_methods(state->PipelineType) < 0 ||
        PyModule_AddIntConstant(module, "BATCH_PLAIN", AR_BATCH_PLAIN) < 0 ||
        PyModule_AddIntConstant(module, "BATCH_TRANSACTION", AR_BATCH_TRANSACTION) < 0 ||
        PyModule_AddIntConstant(module, "BATCH_RAW", AR_BATCH_RAW) < 0) {
        return -1;
    }
    return PyModule_AddObjectRef(module, "Pipeline", (PyObject *)state->PipelineType);
}
