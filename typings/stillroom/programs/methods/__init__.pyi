from programs.methods import *
