from programs.methods.symbolic import *
