/* A class of redis-py's that has __slots__ cannot have a C base of ours: an object beside the instance has the native
 * methods, and these descriptors lead to them. Seen through the class, the method is redis-py's. */
#include "forward.h"

typedef struct {
    PyObject_HEAD
    PyObject *function;  /* redis-py's */
    PyObject *name;      /* of the method */
    PyObject *attribute; /* of the instance, whose method it is */
} ArForward;

static PyObject *
forward_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"function", "name", "attribute", NULL};
    PyObject *function, *name, *attribute;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OUU:Forward", keywords, &function, &name,
                                     &attribute)) {
        return NULL;
    }
    ArForward *self = (ArForward *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->function = Py_NewRef(function);
    self->name = Py_NewRef(name);
    self->attribute = Py_NewRef(attribute);
    PyUnicode_InternInPlace(&self->name);
    PyUnicode_InternInPlace(&self->attribute);
    return (PyObject *)self;
}

static int
forward_traverse(ArForward *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->function);
    return 0;
}

static int
forward_clear(ArForward *self)
{
    Py_CLEAR(self->function);
    return 0;
}

static void
forward_dealloc(ArForward *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    (void)forward_clear(self);
    Py_CLEAR(self->name);
    Py_CLEAR(self->attribute);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *
forward_get(ArForward *self, PyObject *instance, PyObject *Py_UNUSED(owner))
{
    if (instance == NULL || instance == Py_None) {
        return Py_NewRef(self->function);
    }
    PyObject *holder = PyObject_GetAttr(instance, self->attribute);
    if (holder == NULL) {
        return NULL;
    }
    PyObject *method = PyObject_GetAttr(holder, self->name);
    Py_DECREF(holder);
    return method;
}

static PyType_Slot forward_slots[] = {
    {Py_tp_doc, (void *)"Forward(function, name, attribute)\n--\n\n"
                        "A descriptor: instance.<attribute>.<name>; `function` through the class."},
    {Py_tp_new, forward_new},
    {Py_tp_dealloc, forward_dealloc},
    {Py_tp_traverse, forward_traverse},
    {Py_tp_clear, forward_clear},
    {Py_tp_descr_get, forward_get},
    {0, NULL},
};

static PyType_Spec forward_spec = {
    .name = "aiecs_redis._native.Forward",
    .basicsize = sizeof(ArForward),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = forward_slots,
};

int
ar_forward_setup(PyObject *module, ar_state *state)
{
    state->ForwardType = (PyTypeObject *)PyType_FromModuleAndSpec(module, &forward_spec, NULL);
    if (state->ForwardType == NULL) {
        return -1;
    }
    return PyModule_AddObjectRef(module, "Forward", (PyObject *)state->ForwardType);
}
