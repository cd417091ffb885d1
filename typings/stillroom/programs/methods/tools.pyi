from programs.methods.tools import *
