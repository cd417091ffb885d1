from programs.methods.corpus import *
