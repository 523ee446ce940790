/* Queues commands on the pipeline's command_stack without a Python frame for each. */
#include "pipeline.h"

#include "hot.h"

#include <string.h>

typedef struct {
    ArTarget target;
    PyObject *stack; /* command_stack: list of (arguments, options) */
    int watching;
} ArPipeline;

static int
pipeline_traverse(ArPipeline *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->stack);
    Py_VISIT(self->target.native_method);
    return 0;
}

static int
pipeline_clear(ArPipeline *self)
{
    Py_CLEAR(self->stack);
    Py_CLEAR(self->target.native_method);
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

static PyObject *
pipeline_dispatch(ArTarget *target, PyObject *name, PyObject *const *rest, Py_ssize_t rest_count,
                  PyObject *options, uint8_t Py_UNUSED(properties))
{
    ArPipeline *self = (ArPipeline *)target;
    PyObject *entry = NULL, *keywords = NULL;
    PyObject *arguments = PyTuple_New(rest_count + 1);
    if (arguments == NULL) {
        return NULL;
    }
    PyTuple_SET_ITEM(arguments, 0, Py_NewRef(name));
    for (Py_ssize_t i = 0; i < rest_count; i++) {
        PyTuple_SET_ITEM(arguments, i + 1, Py_NewRef(rest[i]));
    }
    keywords = options != NULL ? Py_NewRef(options) : PyDict_New();
    if (keywords != NULL) {
        entry = PyTuple_Pack(2, arguments, keywords);
    }
    int result = entry != NULL ? PyList_Append(self->stack, entry) : -1;
    Py_XDECREF(entry);
    Py_XDECREF(keywords);
    Py_DECREF(arguments);
    return result < 0 ? NULL : Py_NewRef((PyObject *)self);
}

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
    self->target.diverted = 1;
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
    if (PyUnicode_Compare(name, state->str_command_stack) == 0) {
        Py_XSETREF(self->stack,
                   value != NULL && PyList_CheckExact(value) ? Py_NewRef(value) : NULL);
        self->target.diverted = self->watching || self->stack == NULL;
    } else if (PyUnicode_CompareWithASCIIString(name, "watching") == 0) {
        self->watching = value != NULL && PyObject_IsTrue(value) == 1;
        self->target.diverted = self->watching || self->stack == NULL;
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
    if (state->PipelineType == NULL || ar_hot_add_methods(state->PipelineType) < 0) {
        return -1;
    }
    return PyModule_AddObjectRef(module, "Pipeline", (PyObject *)state->PipelineType);
}
