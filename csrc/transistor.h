// The junctions of a transistor behind resistors, element by element.
#pragma once

#include "checks.h"

namespace metaphys {

Tensor transistor_voltages(Tensor s, Tensor w, Tensor parameters);

}  // namespace metaphys
