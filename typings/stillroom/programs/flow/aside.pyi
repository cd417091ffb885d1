from programs.flow.aside import *
