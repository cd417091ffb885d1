from programs.methods.translate import *
