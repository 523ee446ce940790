/* Falling back to redis-py's own methods, and telling when that is due. */
#include "target.h"

#include "module.h"

#include <string.h>

ar_state *
ar_state_of_type(PyTypeObject *type)
{
    PyObject *mro = type->tp_mro;
    for (Py_ssize_t i = 0; mro != NULL && i < PyTuple_GET_SIZE(mro); i++) {
        PyTypeObject *base = (PyTypeObject *)PyTuple_GET_ITEM(mro, i);
        if (!PyType_HasFeature(base, Py_TPFLAGS_HEAPTYPE)) {
            continue;
        }
        PyObject *module = ((PyHeapTypeObject *)base)->ht_module;
        if (module != NULL && PyModule_GetDef(module) == &ar_module_definition) {
            return PyModule_GetState(module);
        }
    }
    PyErr_Format(PyExc_TypeError, "%s is no type of aiecs_redis", type->tp_name);
    return NULL;
}

PyObject *
ar_target_fall_back(ArTarget *self, PyObject *name, PyObject *const *args, Py_ssize_t nargs,
                    PyObject *kwnames)
{
    PyObject *method = PyObject_GetAttr(self->python_class, name);
    if (method == NULL) {
        return NULL;
    }
    Py_ssize_t keywords = kwnames != NULL ? PyTuple_GET_SIZE(kwnames) : 0;
    PyObject **arguments = PyMem_Malloc((size_t)(nargs + keywords + 1) * sizeof(PyObject *));
    if (arguments == NULL) {
        Py_DECREF(method);
        return PyErr_NoMemory();
    }
    arguments[0] = (PyObject *)self;
    if (nargs + keywords > 0) {
        memcpy(arguments + 1, args, (size_t)(nargs + keywords) * sizeof(PyObject *));
    }
    PyObject *result = PyObject_Vectorcall(method, arguments, (size_t)nargs + 1, kwnames);
    PyMem_Free(arguments);
    Py_DECREF(method);
    return result;
}

int
ar_target_check_override(ArTarget *self)
{
    PyObject *name = self->state->str_execute_command;
    PyObject *method = PyObject_GetAttr((PyObject *)Py_TYPE(self), name);
    if (method == NULL) {
        return -1;
    }
    self->class_version = Py_TYPE(self)->tp_version_tag;
    int overridden = method != self->native_method;
    Py_DECREF(method);
    PyObject **dict = _PyObject_GetDictPtr((PyObject *)self);
    if (!overridden && dict != NULL && *dict != NULL) {
        overridden = PyDict_Contains(*dict, name);
    }
    self->overridden = overridden != 0;
    return overridden < 0 ? -1 : 0;
}
