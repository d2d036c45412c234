// The rules that are one function of an element: each is defined in the file of its name.
#pragma once

#include "leafwise.h"

namespace metaphys {

extern const Loops rmsprop, rmsprop_momentum, rmsprop_centered, rmsprop_centered_momentum;
extern const Loops adadelta;
extern const Loops adagrad;
extern const Loops adamax;
extern const Loops nadam;
extern const Loops radam;
extern const Loops lion;

}  // namespace metaphys
