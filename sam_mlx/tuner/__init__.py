"""Fine-tuning: labelled pictures in the forms that people have, training, evaluation."""
