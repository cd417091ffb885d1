from programs.methods.archive import *
