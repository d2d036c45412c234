// Every native kernel of metaphys: the table of contents of this folder.
//
// Schemas are defined in Python (metaphys/ops), which also has an implementation of each; this
// library adds the CPU implementations. Loading it is all there is to do.
#include "adam.h"
#include "recurrence.h"
#include "rules.h"
#include "sgd.h"
#include "transistor.h"

#include <torch/csrc/stable/library.h>

// A rule of rules.h and its three operators.
#define METAPHYS_OPERATORS(NAME)                                \
  m.impl(#NAME, TORCH_BOX(&metaphys::update<metaphys::NAME>));  \
  m.impl(#NAME "_vjp", TORCH_BOX(&metaphys::update_vjp<metaphys::NAME>)); \
  m.impl(#NAME "_", TORCH_BOX(&metaphys::update_<metaphys::NAME>));

STABLE_TORCH_LIBRARY_IMPL(metaphys, CPU, m) {
  m.impl("adam", TORCH_BOX(&metaphys::adam));
  m.impl("adam_vjp", TORCH_BOX(&metaphys::adam_vjp));
  m.impl("adam_", TORCH_BOX(&metaphys::adam_));
  m.impl("sgd", TORCH_BOX(&metaphys::sgd));
  m.impl("sgd_vjp", TORCH_BOX(&metaphys::sgd_vjp));
  m.impl("sgd_", TORCH_BOX(&metaphys::sgd_));
  METAPHYS_OPERATORS(rmsprop)
  METAPHYS_OPERATORS(rmsprop_momentum)
  METAPHYS_OPERATORS(rmsprop_centered)
  METAPHYS_OPERATORS(rmsprop_centered_momentum)
  METAPHYS_OPERATORS(adadelta)
  METAPHYS_OPERATORS(adagrad)
  METAPHYS_OPERATORS(adamax)
  METAPHYS_OPERATORS(nadam)
  METAPHYS_OPERATORS(radam)
  METAPHYS_OPERATORS(lion)
  m.impl("recurrence_solve", TORCH_BOX(&metaphys::recurrence_solve));
  m.impl("recurrence_loaded", TORCH_BOX(&metaphys::recurrence_loaded));
  m.impl("transistor_voltages", TORCH_BOX(&metaphys::transistor_voltages));
}
