from metaphys import ops
